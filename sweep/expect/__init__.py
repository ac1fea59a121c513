"""The baseline: the format of expect files, reading them, and accepting results into them.

What a result is lives in ``findings``, what a run prints in ``report``. Runs in the parent; no torch.
"""
