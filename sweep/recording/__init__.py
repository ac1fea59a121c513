"""Recording: running adapters, writing down every distinct call that reaches the dispatcher, and merging the calls into a corpus.

Samples live in ``opinfo_adapters``, which is reached by name only; the file format lives in ``calls``. ``record``, ``scheduler``,
``retries``, ``merge``, ``journal``, ``fingerprint`` and ``progress_bar`` run in the parent; ``tasks``, ``recorder``,
``attempts``, ``bounds``, ``recorded`` and ``adapters`` in the child; ``stages``, ``outcome``, ``shards`` and ``index`` are
shared. Only the child side imports torch.
"""
