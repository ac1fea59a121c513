"""Crossref ``equivalence``: the same call in other forms, which have to give the same values.

The forms are in ``common.forms`` and ``common.positions``. Upstream has parts of it: ``test_ops.py`` compares out= and in-place
variants and non-contiguous samples with contiguous ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from sweep.calls.codec import signature
from sweep.calls.recipes import is_opaque
from sweep.crossref.common import memory, positions, protocol
from sweep.crossref.common.comparison import Outcome, compare
from sweep.crossref.common.forms import Contiguous, Device, Form, InPlace, Out, Sides, Strided, Twice
from sweep.crossref.common.protocol import CHANGES_STATE, DoesNotApply, PreparedCall, Shared
from sweep.crossref.common.values import confirmed
from sweep.errors import ProcessUnusableError
from sweep.findings.ending import EndingKind, ending_of
from sweep.findings.finding import Mismatch
from sweep.isolation import instruction_sets
from sweep.operators.inventory import kind_of, qualified_name
from sweep.operators.overload import OverloadKind
from sweep.operators.schema import is_random

_FORMS: dict[str, Form] = {form.name: form for form in (Twice(), Contiguous(), Strided(), Out(), InPlace(), Device())}

#: Calls with a larger tensor, of which there are few, are left out: some take seconds, and a form that differs is made ten times.
_LARGEST = 200_000

#: Outputs that hold bookkeeping of the path taken through the kernel, such as the bag of each index.
_BAGS = (1, 2, 3)

#: Overload -> positions of outputs for which several values are right.
_NO_UNIQUE_ANSWER = {
    **dict.fromkeys(("aten._embedding_bag.default", "aten._embedding_bag.out"), _BAGS),
    **dict.fromkeys(("aten._embedding_bag_forward_only.default", "aten._embedding_bag_forward_only.out"), _BAGS),
    **dict.fromkeys(("aten.embedding_bag.default", "aten.embedding_bag.padding_idx"), _BAGS),
    # The factors and pivots of a matrix and of its transpose are not the same.
    "aten._linalg_det.default": (1, 2),
    "aten._linalg_det.result": (1, 2),
    "aten._linalg_slogdet.default": (2, 3),
    "aten._linalg_slogdet.sign": (2, 3),
    "aten.mkldnn_rnn_layer.default": (3,),  # a workspace
}

#: Overloads whose answer depends on the CPU even where instruction sets are limited. ``_int_mm`` calls oneDNN if the CPU has
#: AVX512-VNNI, whatever oneDNN is limited to, and a loop of its own if not; the two differ for expanded tensors.
_BY_CPU = dict.fromkeys(
    ("aten._int_mm.default", "aten._int_mm.out"),
    "its kernel is chosen by AVX512-VNNI, which no variable limits (compared with --native-cpu)",
)

#: The form of ``common.positions``.
POSITIONS = "positions"


class CrossRef(protocol.CrossRef):
    """A call against itself in another form."""

    labels = ("in another form", "as given")
    needs_changes = True
    exemptions: ClassVar[Mapping[str, str]] = {
        "aten.unfold_backward.default": "indexes outside of the memory that it allocates, so its answer is chance",
        "aten.unfold_backward.out": "indexes outside of the memory that it allocates, so its answer is chance",
        **dict.fromkeys(
            ("aten.mkldnn_linear.default", "aten.mkldnn_linear.out"),
            "takes its arguments for contiguous and reads outside of those that are not, so its answer is chance",
        ),
        "aten.linalg_lstsq.out": "rounds differently for another alignment of the memory that it allocates",
        **dict.fromkeys(
            ("prims.inductor_random.default", "prims.inductor_randint.default"),
            "draws from the default generator, whatever seed it is given, and has no tag that says so",
        ),
        "prims._tensor_version.default": "counts the writes to the tensor that it is given, and a copy is another tensor",
        "aten._add_batch_dim.default": "returns a wrapper of the legacy vmap, which no operator reads outside of it",
        **dict.fromkeys(
            (
                "mkl._mkl_reorder_linear_weight.default",
                "mkldnn._reorder_mkldnn_rnn_layer_weight.default",
                "onednn.linear_prepack_fp16.default",
                "onednn.qlinear_prepack.default",
            ),
            "returns weights that are packed for one kernel, in memory that is not all written to",
        ),
    }

    def why_not(self, op: torch._ops.OpOverload) -> str | None:
        return _BY_CPU.get(qualified_name(op._name)) if instruction_sets.pinned() else None

    def forms(self, op: torch._ops.OpOverload) -> Sequence[str]:
        names = [name for name, form in _FORMS.items() if form.applies(op, self.shared.device)]
        if torch.Tag.pointwise in op.tags and kind_of(op) is OverloadKind.FUNCTIONAL and not is_random(op):
            names.append(POSITIONS)
        return names

    def labels_of(self, form: str) -> tuple[str, str]:
        return ("alone", "among others") if form == POSITIONS else _FORMS[form].labels

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self._verdicts: dict[Any, list[Mismatch] | DoesNotApply] = {}
        with super().opened(op, shared):
            yield

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        if form == POSITIONS:
            raise DoesNotApply("replaces the elements of the arguments")
        with self.shared.prediction(self.labels_of(form)[0]):
            return _FORMS[form].sides(call).predicted

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        if call.changes_state:
            raise DoesNotApply(CHANGES_STATE)
        if form == POSITIONS:
            return self._at_positions(call)
        tensors = [tensor for _, tensor, _ in call.actual.inputs] + tree_leaves(call.actual.result)
        if any(isinstance(tensor, torch.Tensor) and tensor.numel() > _LARGEST for tensor in tensors):
            raise DoesNotApply(f"every call has a tensor of more than {_LARGEST} elements")
        return self._in_form(call, _FORMS[form])

    def _in_form(self, call: PreparedCall, form: Form) -> list[Mismatch]:
        if is_opaque(call.actual.result, qualified_name(call.op._name)):
            raise DoesNotApply("the bytes of the result mean nothing")
        if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((call.actual.args, call.actual.kwargs))):
            raise DoesNotApply("draws from a generator of its own, which the call before has moved on")
        try:
            with self.shared.prediction(form.labels[0]):
                sides = form.sides(call)
                found = self._differences(call, form, sides)
                if found:
                    sides = form.reproducible(call, sides)
                    found = self._differences(call, form, sides)
        except (ProcessUnusableError, DoesNotApply):
            raise
        except BaseException as error:
            ending = ending_of(form.labels[0], error)
            if not form.may_raise and ending.kind is not EndingKind.OUT_OF_MEMORY:
                return [self.raised(call, form.name, error)]
            raise DoesNotApply(f"the form is refused: {type(error).__name__}") from None
        return confirmed(
            call,
            sides.predicted,
            found,
            sides.loosened() if found and sides.loosened is not None else sides.tolerance,
            sides.makers,
            sides.actual,
            reference=sides.reference,
            judged=form.judged,
            unstable=memory.is_repeatable if isinstance(form, Twice) else memory.changes,
        )

    def _differences(self, call: PreparedCall, form: Form, sides: Sides) -> list[Mismatch]:
        """The mismatches of two outcomes that count as differences."""
        exempt = _NO_UNIQUE_ANSWER.get(qualified_name(call.op._name), ()) if form.differences is Form.differences else ()
        return [
            mismatch
            for mismatch in compare(call.op, sides.predicted, sides.actual, sides.tolerance)
            if mismatch.kind in form.differences and mismatch.place.output not in exempt
        ]

    def _at_positions(self, call: PreparedCall) -> list[Mismatch]:
        """The mismatches of the first call with the same dtypes and other arguments, which are those of all of them."""
        args, kwargs = call.arguments()
        key = signature(*_without_metadata(args, kwargs))
        if key not in self._verdicts:
            try:
                with self.shared.prediction(self.labels_of(POSITIONS)[0]):
                    self._verdicts[key] = positions.mismatches(call)
            except DoesNotApply as reason:
                self._verdicts[key] = reason
        verdict = self._verdicts[key]
        if isinstance(verdict, DoesNotApply):
            raise DoesNotApply(str(verdict))
        return verdict


def _without_metadata(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments with tensors that have their dtypes and nothing else."""
    return tree_map_only(torch.Tensor, lambda tensor: f"tensor of {tensor.dtype}", (tuple(args), kwargs))
