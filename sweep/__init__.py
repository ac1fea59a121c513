"""Call every ``torch.ops`` overload on a device under crossref and compare what disagrees with checked-in expect files."""
