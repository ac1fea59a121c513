"""The search for calls that reach branches of torch's own Python which no known call reaches, and the measure of such branches.

Recording and checking calls lives elsewhere. What is found here is recorded by ``opinfo_adapters.derived.stored_calls``, and so
are the calls of other sweeps' findings, whose files ``adopted`` reads and writes. Calls are measured and mutated in a child;
``adopted``, ``driver``, ``measurement``, ``pool``, ``report``, ``stored`` and ``table`` run in the parent.
"""
