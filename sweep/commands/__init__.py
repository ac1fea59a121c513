"""The commands of ``python -m sweep``, one file each: ``add`` declares its arguments, ``run`` meets a request and prints.

What a command does with torch, baselines or runs is asked of the other rooms. Runs in the parent; no torch.
"""
