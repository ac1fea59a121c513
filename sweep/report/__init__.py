"""What a run reports: the verdicts of a run as plain data, and one renderer per file over them.

The expect format lives in ``expect``. Runs in the parent; no torch.
"""
