"""The parent's side of isolation: sandboxes, the fork server, the child's bootstrap, and the supervisor of one overload's calls.

What a child runs lives in ``execution`` and ``recording`` and is named by strings here. Runs in the parent (``child`` in the child); no torch.
"""
