"""One call as data: encoding, identity, construction recipes, printing and parsing, the corpus on disk, and redzones around its tensors.

Where calls come from lives in ``recording``, what they are checked for in ``crossref``. Runs in the child; ``call`` and ``corpus`` do not import torch.
"""
