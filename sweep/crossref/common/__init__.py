"""What crossrefs share: the protocol, the comparison of outcomes, fake modes, and exemptions.

Crossrefs themselves are the files one folder up. Runs in the child.
"""
