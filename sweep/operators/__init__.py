"""The operators that this torch has: the inventory, kernels, libraries of custom operators, reasons for not calling, the process group.

Calls of operators live in ``calls``, where they come from in ``opinfo_adapters``. Runs in the child, except for the torch-free dataclasses.
"""
