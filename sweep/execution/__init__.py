"""The child's side of a sweep: checking the calls of one overload, checkpoints, examples, process state and accelerators.

How a call is predicted lives in ``crossref``, how the process is started and replaced in ``isolation``. Runs in the child.
"""
