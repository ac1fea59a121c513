"""Derivations: calls made out of recorded calls, for overloads, arguments and variants of tensors that no sample reaches.

Each module has the two functions of ``sweep.recording.adapters.Derivation``:

``tasks(recorded) -> Iterable[str]``
    The qualified names of the overloads for which it has something to attempt; each is one unit of parallel work.
``run(task, recorded, attempts) -> None``
    Attempts calls of that overload through ``attempts``, which keeps those that the kernel accepts.

Samples live in the adapters beside this package. Runs in the child.
"""
