"""Findings, results and their vocabulary as plain data: endings, kinds, reasons, statuses, each rendered as text in one place.

How findings are computed lives in ``crossref`` and ``execution``, the expect format in ``expect``. Imported by parent and child;
no torch.
"""
