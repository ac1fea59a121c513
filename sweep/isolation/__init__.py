"""Isolation: child processes with limits, the fork server that they come from, and the supervisor of one overload's calls.

What a child runs lives in ``execution``, ``recording`` and ``operators`` and is named here by strings alone. Runs in the parent,
which never imports torch; ``child`` and the main loop of ``fork_server`` run on the other side.
"""
