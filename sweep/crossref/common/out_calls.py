"""Calls of an out= overload in place of the functional one, on out tensors between redzones: whether it writes outside of these.

A functional overload allocates its results itself, and there is no redzone around those. Its out= overload runs the same kernel
on memory that it is given. Some do not: torchgen has written them, and they call the functional one and copy its result.

Only calls that may have an index are made this way: those with an integer tensor beside another tensor, of an operator that is
not pointwise. An index can lead a kernel anywhere. Sizes and options decide where it writes too, but the recorded calls of the
out= overload have those. This is one call in 25; without the rule it would be one in 4, which shows nothing more on torch 2.13.

Anything else that such a call shows, such as a read outside of an argument, belongs to the out= overload, which has calls of its
own. Reads outside of a result are not looked for: a kernel reads there only what it adds to. A write beyond the redzone goes
unnoticed or ends the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from sweep.calls import redzones
from sweep.calls.redzones import Filling, WritesOutside
from sweep.calls.tensors import bytes_of, extent, is_plain, is_strided
from sweep.crossref.common.bounds_check import outputs_of
from sweep.crossref.common.layout_operators import is_about_layout
from sweep.crossref.common.protocol import PreparedCall
from sweep.findings.kind import Edge
from sweep.operators.functional_form import out_of
from sweep.operators.inventory import qualified_name
from sweep.operators.required_state import no_gradients
from sweep.operators.schema import by_name, written_names

#: Dtypes of indices.
_INDICES = frozenset({torch.int32, torch.int64})


class OutCalls:
    """Calls of the out= overload of a functional one.

    Args:
        op: the functional overload.
    """

    def __init__(self, op: torch._ops.OpOverload) -> None:
        self._op = op
        self._out = None if torch.Tag.pointwise in op.tags or is_about_layout(op) else out_of(op)

    def written(self, call: PreparedCall) -> list[tuple[int, Edge]]:
        """The outputs outside of whose memory a call writes, each with the side; the members of a list count as outputs.

        A call that was not made yet is not made here either, since it may ruin what lies there.
        """
        if self._out is None or not _indices(call.arguments()):
            return []
        result = self._result(call)
        outputs = outputs_of(result)
        if not outputs or not all(map(_has_memory_of_its_own, outputs)):
            return []
        written: dict[tuple[int, Edge], None] = {}
        for filling in Filling:  # zeros do not show a zero that is written, and poison no number that is added
            outs = [_zeros_like(output) for output in outputs]
            values = self._arguments(call, outs, is_list=isinstance(result, list))
            written |= dict.fromkeys(self._changed(values, outs, filling))
        return list(written)

    def _result(self, call: PreparedCall) -> Any:
        """What the functional overload returns, as far as its metadata goes; ``None`` if it is not known.

        Of a call that was not made, the result is that with zeros as indices: they are in range for a kernel.
        """
        if not call.is_unmade:
            return None if call.returned is None else call.returned.result
        try:
            with redzones.protected(call.arguments()) as (args, kwargs):
                for index in _indices((args, kwargs)):
                    bytes_of(index.untyped_storage()).zero_()
                with no_gradients(qualified_name(self._op._name)):
                    return self._op(*args, **kwargs)
        except Exception:  # zeros are refused, or lead it out of bounds
            return None

    def _arguments(self, call: PreparedCall, outs: Sequence[torch.Tensor], *, is_list: bool) -> dict[str, Any]:
        """The arguments of the out= overload by name."""
        assert self._out is not None, "there are no calls without"
        accepted = {argument.name for argument in self._out._schema.arguments}
        values = {name: value for name, value in by_name(self._op, *call.arguments()).items() if name in accepted}
        names = written_names(self._out)
        return values | ({names[0]: list(outs)} if is_list else dict(zip(names, outs, strict=True)))

    def _changed(self, values: Mapping[str, Any], outs: Sequence[torch.Tensor], filling: Filling) -> list[tuple[int, Edge]]:
        """The out tensors whose redzones the out= overload changes, by position; none if it refuses the call."""
        assert self._out is not None, "there are no calls without"
        try:
            with redzones.between(values, filling) as moved, no_gradients(qualified_name(self._out._name)):
                self._out(**moved)
        except WritesOutside as error:
            storages = redzones.movable(values)
            position = {out.untyped_storage()._cdata: at for at, out in enumerate(outs)}
            owners = [(position.get(storages[redzone.storage]), redzone.edge) for redzone in error.redzones]
            return [(at, edge) for at, edge in owners if at is not None]
        except Exception:  # memory between redzones cannot be resized, for one
            return []
        return []


def _indices(arguments: Any) -> list[torch.Tensor]:
    """The tensors of a call that may hold indices into others: integers, if there is another tensor."""
    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    return [tensor for tensor in tensors if tensor.dtype in _INDICES and is_strided(tensor)] if len(tensors) > 1 else []


def _has_memory_of_its_own(output: Any) -> bool:
    """Whether an output fills its memory, as an out tensor with the same metadata does."""
    if not isinstance(output, torch.Tensor) or not is_plain(output) or not is_strided(output) or output._is_zerotensor():
        return False
    if output.is_conj() or output.is_neg() or output.storage_offset():
        return False
    return output.untyped_storage().nbytes() == extent(output.shape, output.stride()) * output.itemsize


def _zeros_like(output: torch.Tensor) -> torch.Tensor:
    """Zeros with the metadata of an output, on as little memory as they need."""
    zeros = torch.empty_strided(output.shape, output.stride(), dtype=output.dtype)
    bytes_of(zeros.untyped_storage()).zero_()  # an expanded tensor refuses it
    return zeros
