"""Standalone scripts of findings: an expect file's example, both sides and their comparison, with nothing but torch in them.

``templates`` holds the parts that scripts are put together from. Nothing is run here. Runs in the parent; no torch.
"""
