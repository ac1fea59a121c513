"""Crossref ``bounds``: whether a kernel reads or writes memory outside of its tensors.

The call is made between redzones (see ``common.bounds_check``); one that no recording has made in plain memory, before it is made
there. The memory of a result, which the kernel allocates itself, has no redzones: only the bytes up to the end of its chunk of
the allocator are looked at. Where an index may lead outside of it, and the overload has an out= overload with the same kernel,
that is called on out tensors between redzones (see ``common.out_calls``). Any other write before a result, further behind it, or
behind one whose size is just that of its chunk, goes unnoticed, and so does every read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from sweep.calls import redzones
from sweep.calls.call import COMBINED, Call, Recorded
from sweep.calls.new_memory import filled, is_overrun
from sweep.calls.recipes import is_opaque
from sweep.calls.redzones import Redzone, WritesOutside
from sweep.calls.tensors import is_plain, is_strided
from sweep.crossref.common import protocol
from sweep.crossref.common.bounds_check import NEW_MEMORY, Answer, BoundsCheck, NoAnswer, Refusal, outputs_of
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.out_calls import OutCalls
from sweep.crossref.common.protocol import CHANGES_STATE, Arguments, DoesNotApply, NoPrediction, PreparedCall, Shared
from sweep.crossref.common.snapshot import memory_of
from sweep.findings.finding import WHOLE, Mismatch, Place, Population
from sweep.findings.kind import Access, Edge, OutOfBoundsAccess
from sweep.operators.inventory import qualified_name

#: Calls with a larger tensor are left out: some take seconds, and each is made twice and more.
_LARGEST = 200_000


class CrossRef(protocol.CrossRef):
    """A call against the memory that its tensors own."""

    labels = ("allowed", "real")
    prediction_label = "between redzones"
    looks_at = frozenset({Recorded.RETURNED, Recorded.OUT_OF_BOUNDS})
    precedes = True
    population = Population.COMPARED
    cpu_only = "redzones lie in the memory of the CPU"

    def selected(self, calls: Sequence[Call]) -> Collection[int]:
        """The positions of all calls but combined variants: the recording has made each of those between redzones."""
        return [at for at, call in enumerate(calls) if call.variant != COMBINED]

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self._name = qualified_name(op._name)
        self._check = BoundsCheck(self._name, op, self._inspect)
        self._out_calls = OutCalls(op)
        self._overrun: list[int] = []
        self._byte = 0
        with super().opened(op, shared):
            yield

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        raise NoPrediction("makes the call itself, and predicts no outcome")

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        if call.changes_state:
            raise DoesNotApply(CHANGES_STATE)
        if any(isinstance(leaf, torch.Tensor) and leaf.numel() > _LARGEST for leaf in tree_leaves(call.arguments())):
            raise DoesNotApply(f"every call has a tensor of more than {_LARGEST} elements")
        with self.shared.prediction("between redzones"):
            written = self._out_calls.written(call)
            if written:  # what lies there in the allocator's memory, the call itself would ruin
                return [_mismatch(Place(output=at), Access.WRITE, edge) for at, edge in written]
            try:
                answers, overrun = self._answers(call)
                if any(isinstance(answer, Refusal) and answer.is_about_memory for answer in answers):
                    raise DoesNotApply("refuses memory between redzones, which cannot be resized")
                if overrun:
                    return [_mismatch(Place(output=at), Access.WRITE, Edge.PAST) for at in overrun]
                if answers[0] is NoAnswer.NOT_MOVED or not self._check.depends(call.arguments, *answers):
                    return []
                return self._reads(call)
            except WritesOutside as error:
                return [_mismatch(_owner(call.arguments(), redzone), Access.WRITE, redzone.edge) for redzone in error.redzones]

    def _answers(self, call: PreparedCall) -> tuple[list[Answer], list[int]]:
        """The answers with zeros and with poison in the redzones, and the outputs behind which both calls have written.

        Raises:
            WritesOutside: a redzone has changed.
        """
        answers, overruns = [], []
        for filling, byte in NEW_MEMORY.items():
            self._byte, self._overrun = byte, []
            with filled(byte):
                answers.append(self._check.answer(call.arguments, filling))
            overruns.append(self._overrun)
        self._byte = 0
        return answers, [at for at in overruns[0] if at in overruns[1]]

    def _inspect(self, result: Any, arguments: Any) -> None:
        """Notes the outputs behind whose memory the call has written."""
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
        given = {storage._cdata for tensor in tensors for storage in memory_of(tensor)}
        for at, leaf in enumerate(outputs_of(result)):
            if is_opaque(leaf, self._name) or (isinstance(leaf, torch.Tensor) and (leaf._is_zerotensor() or not is_plain(leaf))):
                continue  # its memory, if it has any, is not the allocator's
            storage = _storage(leaf)
            if self._byte and storage is not None and storage not in given and is_overrun(leaf.untyped_storage(), self._byte):
                self._overrun.append(at)

    def _reads(self, call: PreparedCall) -> list[Mismatch]:
        """The reads on which the answer depends; of the whole call if it depends on none of the redzones by itself."""
        read = self._check.redzones_read(call.arguments)
        if not read:
            return [_mismatch(WHOLE, Access.READ, None)]
        arguments = call.arguments()
        return [_mismatch(_owner(arguments, redzone), Access.READ, redzone.edge) for redzone in read]


def _mismatch(place: Place, access: Access, edge: Edge | None) -> Mismatch:
    kind = OutOfBoundsAccess(access, edge)
    return Mismatch(place, kind, None, "", f"{kind} {place}".strip())


def _owner(arguments: Arguments, redzone: Redzone) -> Place:
    """The first argument whose storage a redzone surrounds."""
    storage = redzones.movable(arguments)[redzone.storage]
    args, kwargs = arguments
    named = [*((str(at), value) for at, value in enumerate(args)), *kwargs.items()]
    name, value = next((name, value) for name, value in named if storage in map(_storage, tree_leaves(value)))
    return Place(argument=name, in_list=isinstance(value, list | tuple))


def _storage(leaf: Any) -> int | None:
    """The address of the storage of a strided tensor; ``None`` for anything else."""
    if not isinstance(leaf, torch.Tensor) or not is_strided(leaf) or not torch._C._has_storage(leaf):
        return None
    return leaf.untyped_storage()._cdata
