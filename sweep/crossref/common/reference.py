"""A reference in double precision, which decides between two results that rounding alone might tell apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from sweep.calls.tensors import is_plain, is_strided
from sweep.crossref.common.comparison import Outcome, Tolerance, same, tensors_of, unequal, wide
from sweep.crossref.common.layout_operators import is_about_layout
from sweep.crossref.common.protocol import PreparedCall
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import Place


class Reference:
    """The results of a call on double-precision copies of its arguments; computed when first asked for.

    Args:
        call: the call.
    """

    def __init__(self, call: PreparedCall) -> None:
        self._call = call
        self._tensors: list[tuple[Place, torch.Tensor]] | None = None

    def at(self, index: int) -> torch.Tensor | None:
        """The reference of a tensor of ``comparison.tensors_of``; ``None`` if the call is refused in double precision."""
        if self._tensors is None:
            self._tensors = self._computed()
        return self._tensors[index][1] if index < len(self._tensors) else None

    def _computed(self) -> list[tuple[Place, torch.Tensor]]:
        call = self._call
        call.reseed()
        args, kwargs = call.arguments()
        doubled = partial(_doubled, _with_storage if is_about_layout(call.op) else _without_gaps)
        try:
            args, kwargs = doubled(args), {name: doubled(value) for name, value in kwargs.items()}
            result = call.op(*args, **kwargs)
        except ProcessUnusableError:
            raise
        except Exception:  # no kernel for double precision: there is no reference
            return []
        return tensors_of(call.op, Outcome(args, kwargs, result))


def wrong_elements(
    judged: torch.Tensor, other: torch.Tensor, reference: torch.Tensor | None, tolerance: Tolerance, kept: torch.Tensor
) -> torch.Tensor:
    """The elements at which one result is not as good as another, as a mask.

    An element passes if it is equal within the tolerance, or if its error is at most the largest error of the other result plus
    the tolerance, as upstream's tests of decompositions have it (``op_assert_ref``).

    Args:
        judged: the result that is judged.
        other: the other one, of the same dtype and size.
        reference: the result in double precision; ``None`` if there is none.
        tolerance: the tolerance.
        kept: the elements that count, as a mask.
    """
    wrong = unequal(judged, other, tolerance) & kept
    is_floating = other.dtype.is_floating_point or other.dtype.is_complex
    if not is_floating or not wrong.any():
        return wrong
    j, o = wide(judged), wide(other)
    if reference is None or reference.shape != other.shape or (reference.dtype != o.dtype and other.dtype != o.dtype):
        return wrong & ~((j - o).abs() <= _norm_wise(o, kept, tolerance.of(judged, other)))
    r = reference.to(o.dtype)
    error, other_error = (j - r).abs(), (o - r).abs()
    finite = torch.isfinite(other_error) & kept
    rtol, atol = tolerance.of(judged, other)
    allowed = (other_error[finite].max() if finite.any() else 0.0) + atol + rtol * r.abs()
    return wrong & ~(torch.isfinite(error) & (error <= allowed)) & ~same(j, r)


def _norm_wise(other: torch.Tensor, kept: torch.Tensor, tolerance: tuple[float, float]) -> torch.Tensor:
    """The difference that is allowed where there is no reference: relative to the largest element, not to each."""
    rtol, atol = tolerance
    sizes = other.abs()[kept & torch.isfinite(other)]
    return atol + rtol * (sizes.max() if sizes.numel() else torch.zeros((), dtype=torch.float64))


def _doubled(tensor: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """A copy of an argument in double precision; integers, bools and everything that is no number keep their type.

    Args:
        tensor: makes the copy of a tensor.
        value: the argument.
    """
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, torch.dtype):
        return _double(value)
    if isinstance(value, list | tuple):
        return type(value)(_doubled(tensor, item) for item in value)
    return value


def _without_gaps(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor in double precision, which is contiguous unless the tensor is dense.

    A kernel that takes its arguments for contiguous ones thus has a reference that is right.
    """
    return tensor.to(_double(tensor.dtype))


def _with_storage(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor in double precision with its strides, on a copy of its whole storage.

    An operator that addresses the storage would otherwise leave it.
    """
    dtype = _double(tensor.dtype)
    has_own_storage = is_strided(tensor) and is_plain(tensor) and torch._C._has_storage(tensor) and not tensor._is_zerotensor()
    if tensor.dtype is dtype or not has_own_storage or tensor.is_conj() or tensor.is_neg():
        return tensor.to(dtype)
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
    return whole.to(dtype).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _double(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype
