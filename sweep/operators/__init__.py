"""The operators of this torch: inventory, kernels, custom libraries, reasons for not calling one, and the process group.

Calls live in ``calls``, adapters in ``opinfo_adapters``. Runs in the child; ``overload`` and ``environment`` are torch-free.
"""
