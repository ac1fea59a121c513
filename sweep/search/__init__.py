"""The search for calls that reach branches of torch's own Python which no known call reaches, and the measure of such branches.

Recording and checking calls lives elsewhere. What is found here is recorded by the adapter ``opinfo_adapters.searched``. Module
``adopted`` reads and writes the files of ``opinfo_adapters.adopted``, with what other sweeps have found. Calls are measured and
mutated in a child; ``adopted``, ``driver``, ``measurement``, ``pool``, ``report``, ``stored`` and ``table`` run in the parent.
"""
