"""Elements of a result that no kernel wrote: what new memory is filled with shows which elements of a result depend on it.

Works where torch's CPU allocator is glibc's ``posix_memalign``, that is, on Linux with glibc. Elsewhere, and for the memory of an
accelerator, uninitialized elements are not recognized, and a value that differs for them is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sweep.calls.new_memory import filled
from sweep.crossref.common.comparison import same

#: Two bytes whose repetitions differ in every dtype and are no NaN as a floating-point number. One is zero: a kernel makes the
#: same of every other byte of a bool.
_FIRST, _SECOND = 0, 0x6B


def runs(make: Callable[[], Sequence[torch.Tensor]]) -> list[Sequence[torch.Tensor]]:
    """The results of four runs, the first two on memory of one content and the last two on memory of another.

    Args:
        make: returns the results of a call.

    Returns:
        Copies of the results, of bools as bytes.
    """

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        # Copying a bool makes every byte that is not 0 a 1.
        return tensor.view(torch.uint8).clone() if tensor.dtype is torch.bool else tensor.clone()

    results: list[Sequence[torch.Tensor]] = []
    for byte in (_FIRST, _FIRST, _SECOND, _SECOND):
        with filled(byte):
            results.append([kept(tensor) for tensor in make()])
    return results


def is_repeatable(results: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The elements of a tensor that are the same in two runs on memory of one content, as a mask.

    They do not change by themselves, though they may depend on what new memory holds, or on what the call before has left.

    Args:
        results: the tensor in each of :func:`runs`.

    Returns:
        ``None`` if even its size or dtype changes.
    """
    if not _are_comparable(results):
        return None
    first, first_again, second, second_again = results
    return same(first, first_again) & same(second, second_again)


def changes(results: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The elements of a tensor that are not the same in all of :func:`runs`; as :func:`is_repeatable`."""
    if not _are_comparable(results):
        return None
    mask = torch.zeros_like(results[0], dtype=torch.bool)
    for other in results[1:]:
        mask |= ~same(results[0], other)
    return mask


def _are_comparable(results: Sequence[torch.Tensor]) -> bool:
    return all(other.shape == results[0].shape and other.dtype == results[0].dtype for other in results)
