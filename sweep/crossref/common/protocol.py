"""The protocol of a crossref, and what it is given: the call to check and what all crossrefs of an overload share.

Which calls are checked, in which order and process, is decided in ``execution``.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sweep.calls.call import Call, Recorded
from sweep.crossref.common.comparison import Outcome, Tolerance, compare, describe
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.refusals import prediction_ending
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import WHOLE, Mismatch, Population
from sweep.operators.inventory import qualified_name

Arguments = tuple[list[Any], dict[str, Any]]

#: Why a crossref that makes a call once more does not apply to it.
CHANGES_STATE = "changes the state of the process, under which it must not be made again"


@dataclass(frozen=True)
class PreparedCall:
    """A call to be predicted, and what came of it when it was really made.

    Attributes:
        op: the overload.
        arguments: returns the call's arguments: new copies each time if the overload writes to some, else always the same ones.
        returned: the outcome of the real call, which is made once and shared by all crossrefs; ``None`` if it did not return, or
            is not made at all.
        refusal: what the real call raised, if it did.
        changed: the arguments that the real call has changed, by position or keyword, whatever the schema says. Known only where
            a crossref asks for it; the changes that the schema does not declare are then undone.
        seed: the random seed of the real call; ``None`` if the overload draws no random numbers.
        changes_state: whether the real call left process-wide state changed, which was restored.
    """

    op: torch._ops.OpOverload
    arguments: Callable[[], Arguments]
    returned: Outcome | None
    refusal: BaseException | None = None
    changed: frozenset[str] | None = None
    seed: int | None = None
    changes_state: bool = False

    @property
    def actual(self) -> Outcome:
        """The outcome of a real call that returned."""
        assert self.returned is not None, "only a call that returned is checked"
        return self.returned

    @property
    def is_unmade(self) -> bool:
        """Whether the real call is not made, or not yet."""
        return self.returned is None and self.refusal is None

    def reseed(self) -> None:
        """Gives the default generators the state that they had before the real call."""
        if self.seed is not None:
            torch.manual_seed(self.seed)

    def repeated(self) -> Outcome:
        """The outcome of the real call made once more, with the same random numbers; raises whatever it raises."""
        self.reseed()
        args, kwargs = self.arguments()
        return Outcome(args, kwargs, self.op(*args, **kwargs))


@dataclass(frozen=True)
class Shared:
    """What all crossrefs that check one overload share.

    Attributes:
        fakes: fake modes, with a memory of what they answered.
        prediction: context manager to be entered around whatever may run real kernels; takes the label of the side.
        device: the device under test.
    """

    fakes: FakeModes
    prediction: Callable[[str], AbstractContextManager[None]]
    device: str = "cpu"


class DoesNotApply(Exception):
    """A crossref has nothing to say about one call; the message is the reason."""


class NoPrediction(DoesNotApply):
    """A form judges the real call by itself, so there is no prediction to show."""


class CrossRef(abc.ABC):
    """One way to predict the outcome of a call, or several ways of one kind, which are its forms.

    A subclass states its labels and implements :meth:`predict`; seeds, the real call, exemptions, imports that this torch lacks,
    and the comparison are done for it.

    Attributes:
        labels: its names for the predicted and the actual side, as expect files have them; :meth:`labels_of` where forms differ.
        prediction_label: its name for the path that :meth:`predict` takes, where that is not the first label.
        looks_at: the calls that it is asked about, by how they ended when they were recorded. A call that does not return in
            the sweep counts as refused.
        precedes: whether it is asked before a call is made that no recording has made in plain memory, and of which nothing is
            known then.
        needs_changes: whether it has to know which arguments the real call has changed, or that they are as they were.
        cpu_only: why it applies to no other device than the CPU; empty if it applies to all.
        population: the calls that the number of calls of its findings is out of.
        tolerance: tolerance for floating-point values; ``None`` compares metadata alone.
        exemptions: overload -> why a prediction of it would say nothing true. "It fails" is not a reason: that is a finding.
    """

    labels: ClassVar[tuple[str, str]]
    prediction_label: ClassVar[str] = ""
    looks_at: ClassVar[frozenset[Recorded]] = frozenset({Recorded.RETURNED})
    precedes: ClassVar[bool] = False
    needs_changes: ClassVar[bool] = False
    cpu_only: ClassVar[str] = ""
    population: ClassVar[Population] = Population.MADE
    tolerance: ClassVar[Tolerance | None] = None
    exemptions: ClassVar[Mapping[str, str]] = {}

    def why_not(self, op: torch._ops.OpOverload) -> str | None:
        """Why this crossref does not apply to an overload; ``None`` if it does. Exemptions are looked up before this is asked."""
        return None

    def forms(self, op: torch._ops.OpOverload) -> Sequence[str]:
        """The forms in which each call of an overload is predicted. Expect files have a form's name in brackets.

        Each is predicted, timed and isolated by itself. Asked only if the crossref applies to the overload, and while it is open.
        """
        return ("",)

    def selected(self, calls: Sequence[Call]) -> Collection[int]:
        """The positions of the recorded calls that it is asked about, among those of an overload, if :attr:`looks_at` has them.

        A slow crossref selects a few. The selection must depend on the recorded calls alone, so that it is the same in each
        process.
        """
        return range(len(calls))

    def basis_of(self, form: str) -> str:
        """The form whose prediction one builds on, which is not checked where that ended the process; by default itself."""
        return form

    def labels_of(self, form: str) -> tuple[str, str]:
        """The names of the predicted and the actual side of a form."""
        return self.labels

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        """Context in which the calls of one overload are checked. Leaving it leaves torch as it was.

        Several crossrefs are open at the same time; one must change nothing for another.
        """
        self.shared = shared
        yield

    @abc.abstractmethod
    def predict(self, call: PreparedCall, form: str) -> Outcome:
        """The predicted outcome of a call in one form; raises whatever the predicted path raises.

        Raises:
            DoesNotApply: this form does not apply to the call.
        """

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        """Lists the mismatches between the predicted and the actual outcome of a call in one form.

        Raises:
            DoesNotApply: this form does not apply to the call, which then does not count as compared.
            ProcessUnusableError: no other call may be made in this process.
        """
        try:
            predicted = self.predict(call, form)
        except (ProcessUnusableError, DoesNotApply):
            raise
        except BaseException as error:  # the class of whatever the predicted path raises is the finding
            return [self.raised(call, form, error)]
        return self.compare(call, predicted, form)

    def raised(self, call: PreparedCall, form: str, error: BaseException) -> Mismatch:
        """The mismatch of a prediction that raised."""
        ending = prediction_ending(self.labels_of(form)[0], error)
        return Mismatch(WHOLE, ending, None, type(error).__name__, describe(call.actual.result))

    def compare(self, call: PreparedCall, predicted: Outcome, form: str) -> list[Mismatch]:
        """Lists the mismatches of a prediction that returned."""
        return compare(call.op, predicted, call.actual, self.tolerance)


class _Unavailable(CrossRef):
    """Stands for a crossref whose file cannot be imported under this torch; it applies to nothing."""

    labels = ("predicted", "real")

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def why_not(self, op: torch._ops.OpOverload) -> str | None:
        return self._reason

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        raise AssertionError("applies to nothing")


def load(name: str) -> CrossRef:
    """A new instance of a crossref; one that this torch cannot import applies to nothing, and says why."""
    try:
        module = importlib.import_module(f"sweep.crossref.{name}")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "torch":
            raise  # a mistake in the file, not something that this torch lacks
        return _Unavailable(f"torch {torch.__version__.partition('+')[0]} lacks what it needs: {error}")
    crossref: CrossRef = module.CrossRef()
    return crossref


def why_not(crossref: CrossRef, op: torch._ops.OpOverload, device: str) -> str | None:
    """Why a crossref does not check an overload on a device, by exemption or by its own word; ``None`` if it does."""
    if crossref.cpu_only and torch.device(device).type != "cpu":
        return crossref.cpu_only
    return crossref.exemptions.get(qualified_name(op._name)) or crossref.why_not(op)
