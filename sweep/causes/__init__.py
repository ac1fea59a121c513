"""Causes of findings: which function of torch answered for the wrong side of each, and which findings have that in common.

Tracing runs in a child, everything else in the parent; what a finding is lives in ``findings``, the baseline in ``expect``.
"""
