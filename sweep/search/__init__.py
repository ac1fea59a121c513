"""The search for calls that reach branches of torch's own Python which no known call reaches, and the measure of such branches.

Recording and checking calls lives elsewhere: what is found here is recorded by the adapter ``opinfo_adapters.searched``. Calls
are measured and mutated in a child; ``measurement``, ``driver``, ``pool``, ``report``, ``stored``, ``table`` run in the parent.
"""
