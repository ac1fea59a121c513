"""Making the call of an example smaller: the simplifications that are tried, their order, and what counts as smaller.

It is told whether a printed call still shows what it is to show; crossrefs, findings and processes are the business of
``execution``. Runs in a child.
"""
