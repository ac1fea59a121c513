"""One call as data: the value codec, identity, construction recipes, printing, parsing, corpus files, redzones.

Where calls come from lives in ``recording``, what they are checked for in ``crossref``. Runs in the child; ``call`` and
``corpus`` import no torch.
"""
