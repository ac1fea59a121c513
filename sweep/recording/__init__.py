"""Making the corpus: the recorder, recording tasks and attempts in the child; scheduling, merging and the journal in the parent.

Which samples there are lives in ``opinfo_adapters``, the file format in ``calls``. ``recorder``, ``tasks``, ``attempts`` and ``recorded`` run in the child, the rest in the parent.
"""
