"""Call every ``torch.ops`` overload on a device under crossref and hold what disagrees against checked-in expect files."""
