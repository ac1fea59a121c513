"""What a run reports: a run as plain data, ``run.jsonl``, and one renderer per file over it; also naming overdue overloads.

The expect format and accepting live in ``expect``. Runs in the parent; no torch.
"""
