"""Crossrefs, one file each: ways to predict the outcome of a call, compared with what the call really does.

A crossref knows nothing of where calls come from or what is expected; running calls lives in ``execution``. Adding one is adding
a file with a class ``CrossRef`` (see ``common.protocol``); ``--crossref NAME`` and the expect files take its name from the
module. This module only lists names and does not import torch; crossrefs run in the child.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence

from sweep.errors import UnknownCrossRefError

#: What torch imports when it makes its first fake tensors, which takes as long as importing torch, and what Inductor's
#: decompositions use: for the fork server.
LATE_IMPORTS = ("torch._dynamo", "torch._functorch.aot_autograd", "torch.export._trace", "torch._inductor.lowering")


def names() -> list[str]:
    """The names of all crossrefs, sorted: every module of this package that is not itself a package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def check_names(wanted: Sequence[str]) -> list[str]:
    """The wanted crossrefs, sorted and without repetition; all of them for an empty list.

    Raises:
        UnknownCrossRefError: one of them does not exist.
    """
    registered = names()
    for name in wanted:
        if name not in registered:
            raise UnknownCrossRefError(f"unknown crossref {name!r}; there are: {', '.join(registered)}")
    return sorted(set(wanted)) or registered
