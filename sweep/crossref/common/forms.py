"""Forms of a call that have to give the same values: made again, on contiguous arguments, by the functional overload, on the CPU.

Each says to which overloads and calls it applies and computes two outcomes; ``equivalence`` compares them.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch._prims_common import make_contiguous_strides_for
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from sweep.calls.recipes import was_built
from sweep.calls.redzones import Filling, on_longer
from sweep.calls.tensors import as_fillable, is_strided
from sweep.crossref.common.comparison import Outcome, Tolerance, coarsest, wide
from sweep.crossref.common.layout_operators import is_about_layout
from sweep.crossref.common.protocol import Arguments, DoesNotApply, PreparedCall
from sweep.crossref.common.values import Judged
from sweep.findings.kind import Difference
from sweep.operators.functional_form import OPTIONS, functional_of
from sweep.operators.inventory import kind_of
from sweep.operators.overload import OverloadKind
from sweep.operators.schema import by_name, is_random, written_names

#: Tolerance of forms that run the same arithmetic in the same order.
EXACT = Tolerance(0.0, 0.0)


@dataclass(frozen=True)
class Sides:
    """Two outcomes that have to be equal.

    Attributes:
        predicted: the outcome in the form.
        actual: the outcome that is judged by it.
        makers: compute each of the two again.
        tolerance: tolerance of the comparison.
        reference: the call whose outcome in double precision decides; ``None`` if the two sides must not round differently.
        loosened: returns the tolerance of that decision; ``None`` for the tolerance of the comparison.
    """

    predicted: Outcome
    actual: Outcome
    makers: Sequence[Callable[[], Outcome]]
    tolerance: Tolerance = EXACT
    reference: PreparedCall | None = None
    loosened: Callable[[], Tolerance] | None = None


class Form(abc.ABC):
    """One form.

    Attributes:
        name: its name, as expect files have it.
        labels: names of the predicted and the actual side.
        differences: what counts as a difference.
        judged: the side that has to be as good as the other one, where a reference in double precision decides.
        may_raise: whether the form may be refused where the real call returned; otherwise that is a finding.
    """

    name: ClassVar[str]
    labels: ClassVar[tuple[str, str]]
    differences: ClassVar[frozenset[Difference]] = frozenset({Difference.VALUE, Difference.SIZE, Difference.RANK})
    judged: ClassVar[Judged] = Judged.ACTUAL
    may_raise: ClassVar[bool] = True

    def applies(self, op: torch._ops.OpOverload, device: str) -> bool:
        """Whether the form applies to calls of an overload on a device."""
        return True

    @abc.abstractmethod
    def sides(self, call: PreparedCall) -> Sides:
        """The two outcomes of a call; raises whatever computing them raises.

        Raises:
            DoesNotApply: the call has no such form.
        """

    def reproducible(self, call: PreparedCall, sides: Sides) -> Sides:
        """Two outcomes that differ, as they are in every process; raises whatever computing them raises."""
        return sides


class Twice(Form):
    """The same call again."""

    name = "twice"
    labels = ("again", "once")
    differences = frozenset(Difference) - {Difference.ALIASING}
    may_raise = False

    def sides(self, call: PreparedCall) -> Sides:
        return Sides(call.repeated(), call.actual, [call.repeated])


class _Layout(Form):
    """The call on copies of its arguments in another layout.

    Attributes:
        copies_outs: whether out= tensors are copied too.
    """

    copies_outs: ClassVar[bool] = True

    def applies(self, op: torch._ops.OpOverload, device: str) -> bool:
        takes_tensor = any("Tensor" in str(argument.type) for argument in op._schema.arguments)
        return takes_tensor and not is_about_layout(op)

    def sides(self, call: PreparedCall) -> Sides:
        if call.seed is not None:
            raise DoesNotApply("draws random numbers in the order of the elements in memory")
        tensors = _tensors(call.arguments())
        if not any(self.changes(tensor) for tensor in tensors):
            raise DoesNotApply("no argument of any call has another layout in this form")
        if call.op._schema.is_mutable and _share_memory(tensors):
            raise DoesNotApply("writes to an argument that shares its memory with another one")
        copied = PreparedCall(call.op, functools.partial(self._arguments, call), None)
        trusted = copied if self.judged is Judged.ACTUAL else call
        return Sides(
            copied.repeated(), call.actual, [copied.repeated, call.repeated], Tolerance(), trusted, lambda: _rounding(call)
        )

    def reproducible(self, call: PreparedCall, sides: Sides) -> Sides:
        """With zeros behind expanded arguments, where a kernel reads that takes them for contiguous."""
        if not any(_is_short(tensor) for tensor in _tensors(call.arguments())):
            return sides
        padded = PreparedCall(call.op, lambda: on_longer(call.arguments(), Filling.ZEROS), None)
        return replace(sides, actual=padded.repeated(), makers=[sides.makers[0], padded.repeated])

    def _arguments(self, call: PreparedCall) -> Arguments:
        args, kwargs = tree_map_only(torch.Tensor, lambda t: self.copy(t) if self.changes(t) else t, call.arguments())
        if not self.copies_outs:
            given = call.arguments()[1]
            kwargs |= {a.name: given[a.name] for a in call.op._schema.arguments if a.is_out and a.name in given}
        return args, kwargs

    def changes(self, tensor: torch.Tensor) -> bool:
        """Whether the copy of a tensor has another layout than the tensor."""
        return is_strided(tensor) and not was_built(tensor)

    @abc.abstractmethod
    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """The copy of a tensor in another layout."""


class Contiguous(_Layout):
    """The call on contiguous copies of its arguments."""

    name = "contiguous"
    labels = ("contiguous", "as given")

    def changes(self, tensor: torch.Tensor) -> bool:
        return super().changes(tensor) and not _is_plain(tensor)

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)


class Strided(_Layout):
    """The call on copies of its contiguous arguments with an inner stride of 2 and, from two dimensions on, in reverse order."""

    name = "strided"
    labels = ("strided", "contiguous")
    copies_outs = False  # a kernel that takes one for contiguous may write outside of it
    judged = Judged.PREDICTED

    def sides(self, call: PreparedCall) -> Sides:
        if not all(_is_plain(tensor) for tensor in _tensors(call.arguments()) if super(Strided, self).changes(tensor)):
            raise DoesNotApply("no call has contiguous arguments alone")
        return super().sides(call)

    def changes(self, tensor: torch.Tensor) -> bool:
        return super().changes(tensor) and tensor.numel() > 1

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        order = list(reversed(range(tensor.dim())))
        # What lies between the elements are elements again: a kernel that takes them for its own is wrong, and does not crash.
        return torch.stack([tensor.permute(order)] * 2, -1)[..., 0].permute(order)


class _Functional(Form):
    """The functional overload of an overload that writes its results to arguments."""

    kind: ClassVar[OverloadKind]

    def applies(self, op: torch._ops.OpOverload, device: str) -> bool:
        return kind_of(op) is self.kind and functional_of(op) is not None and not is_about_layout(op)

    def sides(self, call: PreparedCall) -> Sides:
        if _share_memory(_tensors(call.arguments())):
            raise DoesNotApply("writes to an argument that shares its memory with another one")
        actual = self._written(call)
        predicted = self._results(call)
        dtypes = [tensor.dtype for tensor in _tensors(actual)]
        given = [tensor.dtype for tensor in _tensors(predicted)]
        if len(given) != len(dtypes):
            raise DoesNotApply("the functional overload returns another number of tensors")
        if any(p is not a and _loses(p, a) for p, a in zip(given, dtypes, strict=True)):
            raise DoesNotApply("the result does not fit the dtype that it is written to")

        def cast(results: list[Any]) -> Outcome:
            wanted = iter(dtypes)
            return _result(tree_map_only(torch.Tensor, lambda tensor: tensor.to(next(wanted)), results))

        # For another layout, kernels take other loops, which may round differently. A complex number is the result of several
        # operations, and how a compiler fuses them depends on whether it finds that the result overwrites an argument.
        pairs = zip(_tensors(predicted), _tensors(actual), strict=True)
        has_same_layout = all(not is_strided(p) or p.stride() == a.stride() for p, a in pairs)
        is_exact = given == dtypes and has_same_layout and not any(dtype.is_complex for dtype in dtypes)
        if call.seed is not None and not is_exact:
            raise DoesNotApply("draws other random numbers for another dtype or layout")
        return Sides(
            cast(predicted),
            _result(actual),
            [lambda: cast(self._results(call)), lambda: _result(self._written(call))],
            EXACT if is_exact else coarsest([*_tensors(predicted), *_tensors(actual)]),
            None if is_exact else self._functional_call(call),
        )

    def _results(self, call: PreparedCall) -> list[Any]:
        """What the functional overload returns, for each argument that the overload writes to."""
        result = self._functional_call(call).repeated().result
        return list(result) if isinstance(result, tuple) else [result]

    def _functional_call(self, call: PreparedCall) -> PreparedCall:
        """The call of the functional overload; the overload itself, which may be wrong, is no reference."""
        functional = functional_of(call.op)
        assert functional is not None, "applies to overloads with a functional form only"

        def arguments() -> Arguments:
            values = by_name(call.op, *call.arguments())
            outs = _tensors([values.pop(a.name, None) for a in call.op._schema.arguments if a.is_out])
            asked = {argument.name for argument in functional._schema.arguments}.difference(values)
            if asked >= OPTIONS and outs:
                values |= {"dtype": outs[0].dtype, "device": outs[0].device}
            return [], values

        return PreparedCall(functional, arguments, None, seed=call.seed)

    def _written(self, call: PreparedCall) -> list[Any]:
        """What the overload writes, for each argument that it writes to."""
        args, kwargs = call.arguments()
        values = by_name(call.op, args, kwargs)
        targets = [values.get(name) for name in written_names(call.op)]
        if call.seed is not None and not all(_is_plain(tensor) for tensor in _tensors(targets) if is_strided(tensor)):
            raise DoesNotApply("draws random numbers in the order of the elements in memory")
        self.prepare(_tensors(targets))
        call.reseed()
        call.op(*args, **kwargs)
        return targets

    def prepare(self, targets: Sequence[torch.Tensor]) -> None:
        """Prepares the arguments to be written to."""


class Out(_Functional):
    """An out= overload, whose out tensors are filled with garbage, against the functional one."""

    name = "out="
    labels = ("functional", "out=")
    kind = OverloadKind.OUT

    def prepare(self, targets: Sequence[torch.Tensor]) -> None:
        for target in targets:
            if is_strided(target) and not was_built(target):
                elements = as_fillable(target)
                elements.fill_(_garbage(elements.dtype))


class InPlace(_Functional):
    """An in-place overload against the functional one."""

    name = "in-place"
    labels = ("functional", "in-place")
    kind = OverloadKind.IN_PLACE


class Device(Form):
    """The call on the CPU, for a call on another device."""

    name = "device"
    labels = ("cpu", "device")

    def applies(self, op: torch._ops.OpOverload, device: str) -> bool:
        # The two generators give other numbers for the same seed.
        return torch.device(device).type != "cpu" and not is_random(op)

    def sides(self, call: PreparedCall) -> Sides:
        on_cpu = PreparedCall(call.op, lambda: _on_cpu(call.arguments()), None)

        def moved(outcome: Outcome) -> Outcome:
            return Outcome(*_on_cpu((outcome.args, outcome.kwargs, outcome.result)))

        makers = [on_cpu.repeated, lambda: moved(call.repeated())]
        return Sides(on_cpu.repeated(), moved(call.actual), makers, Tolerance(), on_cpu)


def _on_cpu(value: Any) -> Any:
    """A structure with every tensor and device on the CPU; strides and dtypes stay."""

    def moved(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return leaf.cpu()
        return torch.device("cpu") if isinstance(leaf, torch.device) else leaf

    return tree_map(moved, value)


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _result(values: list[Any]) -> Outcome:
    return Outcome((), {}, values[0] if len(values) == 1 else tuple(values))


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a contiguous copy would have the same layout; even dimensions of size 1 have their regular stride."""
    is_regular = tensor.stride() == make_contiguous_strides_for(tensor.shape)
    return is_regular and not tensor.storage_offset() and not tensor.is_conj() and not tensor.is_neg()


def _is_short(tensor: torch.Tensor) -> bool:
    """Whether the memory from a tensor's first element on does not hold as many elements as the tensor has."""
    if not is_strided(tensor) or was_built(tensor):
        return False
    behind = tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.element_size()
    return behind < tensor.numel() * tensor.element_size()


def _share_memory(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether two of the tensors are on one storage."""
    storages = [tensor.untyped_storage()._cdata for tensor in tensors if is_strided(tensor)]
    return len(set(storages)) < len(storages)


def _garbage(dtype: torch.dtype) -> float:
    """A value that no result has by accident and that spoils every sum."""
    if dtype.is_floating_point or dtype.is_complex:
        return float("nan")
    return 1 if dtype is torch.bool else torch.iinfo(dtype).max - 3


def _loses(source: torch.dtype, target: torch.dtype) -> bool:
    """Whether values of one dtype need not fit another, so that converting them is not defined."""
    ranks = (source.is_complex and not target.is_complex, source.is_floating_point and not target.is_floating_point)
    return any(ranks) or (not source.is_complex and not source.is_floating_point and not torch.can_cast(source, target))


def _rounding(call: PreparedCall) -> Tolerance:
    """The tolerance of sums of the arguments' elements in any order, where cancellation leaves what was rounded away before.

    It is relative to the largest element, and that of the least precise dtype; integers count as the default dtype. Results are
    not asked for their largest element: a wrong one may hold anything.
    """
    arguments = [tensor.detach() for tensor in _tensors(call.arguments()) if is_strided(tensor)]
    given = {tensor.dtype for tensor in [*arguments, *_tensors(call.actual.result)]}
    dtypes = {dtype if dtype.is_floating_point or dtype.is_complex else torch.get_default_dtype() for dtype in given}
    wide_ones = [wide(tensor).abs() for tensor in arguments]
    finite = [tensor[torch.isfinite(tensor)] for tensor in wide_ones]
    largest = max((float(tensor.max()) for tensor in finite if tensor.numel()), default=0.0)
    least_precise = coarsest([torch.empty(0, dtype=dtype) for dtype in dtypes])
    return Tolerance(least_precise.rtol, (least_precise.atol or 0.0) + (least_precise.rtol or 0.0) * largest)
