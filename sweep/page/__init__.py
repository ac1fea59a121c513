"""The HTML page of all checked-in results: what it shows as plain data, and how that becomes one self-contained file.

What expect files say is read by ``expect``, scripts are written by ``repro``. Runs in the parent; no torch.
"""
