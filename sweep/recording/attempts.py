"""Trying calls that nobody has made yet: what the kernel accepts is kept, what it refuses says why.

A kernel that writes outside of the tensors it is given does so in silence, and some other call crashes for it; one that reads
there answers with whatever lies beside them, differently each time. So a call is first made on the CPU, on memory between guards:
twice, with other bytes in them. One that changes a guard, or whose answer depends on what the guards hold, is not kept; nor is
one that is refused there, accepted elsewhere, and refused again with such bytes behind its tensors in memory of torch's own.

On an accelerator an index that is out of range costs the process its device, and a new process costs seconds: what the CPU
refuses for the values that it is given is not tried there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from sweep.calls import redzones as guards
from sweep.operators import process_group
from sweep.execution.accelerator import check_not_lost, waiter
from sweep.calls.call import Call, Unrecordable
from sweep.calls.codec import build, encode
from sweep.calls.recipes import is_opaque
from sweep.calls.tensors import is_strided
from sweep.execution.process_state import Guard

#: A call of more tensor elements than this is not tried: it would cost more than it tells.
LARGEST = 200_000

#: How the CPU's kernels word that an argument's values, not its size or dtype, are what they cannot do.
_OF_VALUES = re.compile(
    r"out of (range|bounds)|\bind(ex|ices)\b|between 0 and|probabilit|negative|less than|greater than", re.IGNORECASE
)

#: What only the build or the process decides in a message: where in its sources an assertion stands, and addresses.
_OF_A_BUILD = re.compile(r" at \"/\S+\":\d+, please report a bug to PyTorch")
_ADDRESS = re.compile(r"0x[0-9a-f]+")

#: What torch says of memory that it has not allocated itself.
_NOT_RESIZABLE = "not resizable"


class Attempts:
    """Tries the calls of one overload, each from its plain-data form, so that what works once works again.

    Args:
        name: qualified name of the overload.
        op: the overload.
        device: the device under test.
        heartbeat: is told the number of each attempt just before it is made.
        skip: numbers of attempts not to make, because they took a process with them.
        crashes: those of them that are kept all the same, since they do so every time.
        only: the one attempt to make, to see whether it does.
        stop: the first of those that are not made any more, because too many before it took a process with them.

    Attributes:
        kept: the calls that were accepted, in the order in which they were made.
        outside: ``WritesOutside`` and ``ReadsOutside``, with the smallest call that was refused for it.
    """

    def __init__(
        self,
        name: str,
        op: torch._ops.OpOverload,
        device: str,
        heartbeat: Callable[[int, str], None],
        skip: Collection[int] = (),
        crashes: Collection[int] = (),
        only: int | None = None,
        stop: int | None = None,
    ) -> None:
        self.kept: list[Call] = []
        self.outside: dict[str, Call] = {}
        self._refusals: Counter[tuple[str, str]] = Counter()  # (class, sentence)
        self._name, self._op, self._device = name, op, device
        self._mark, self._skip, self._crashes = heartbeat, frozenset(skip), frozenset(crashes)
        self._only, self._stop = only, stop
        self._made = 0
        self._keys: set[str] = set()
        process_group.ensure_for(name)
        self._wait = waiter(device)
        self._guard = Guard()
        self._is_cpu = torch.device(device).type == "cpu"

    def __call__(self, args: list[Any], kwargs: dict[str, Any], source: str, layout: str = "") -> BaseException | None:
        """Makes a call on copies of its arguments.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            source: where the call comes from, for people.
            layout: the name of the memory layout it was put in, if it was.

        Returns:
            What it raised, or ``None`` if it is kept (or was there already).

        Raises:
            Unusable: no other call may be made in this process.
        """
        try:
            call = _tight(encode(self._name, tuple(args), kwargs, device=self._device, source=source, layout=layout))
        except (Unrecordable, RuntimeError) as reason:  # for one, there is no memory
            return self.refuse(reason)
        if call.key() in self._keys or call.number_of_elements() > LARGEST:
            return None
        self._keys.add(call.key())
        number, self._made = self._made, self._made + 1
        if number in self._crashes:
            self.kept.append(call)
            return None
        given_up = self._stop is not None and number >= self._stop
        if given_up or number in self._skip or self._only not in (None, number):
            return self.refuse(RuntimeError("takes the process with it"))
        try:
            self._mark(number, "attempt" if self._is_cpu else "attempt on the cpu")
            refused = self._check_bounds(call)
            self._mark(number, "attempt")
            own_args, own_kwargs = build(call, self._device)
            with torch.no_grad():
                self._op(*own_args, **own_kwargs)
            self._wait()
            if refused and self._is_cpu:
                self._check_end(call)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: this process belongs to its calls
            if isinstance(error, guards.WritesOutside | ReadsOutside):
                kind = type(error).__name__
                self.outside[kind] = min(self.outside.get(kind, call), call, key=Call.number_of_elements)
            return self.refuse(error.with_traceback(None))
        finally:
            self._guard.restore()
        self.kept.append(call)
        return None

    def _check_end(self, call: Call) -> None:
        """Makes a call that was refused between guards, and accepted elsewhere, on storages that go on behind its tensors.

        Those are torch's own, which some operators insist on, and can be resized.

        Raises:
            ReadsOutside: it is refused for what they hold there.
        """
        for filling in (0, 1):
            args, kwargs = guards.on_longer(build(call, "cpu"), filling)
            try:
                with torch.no_grad():
                    self._op(*args, **kwargs)
            except Exception as error:
                raise ReadsOutside(f"accepts it for what lies outside of the tensors that it is given; else: {error}") from None

    def _check_bounds(self, call: Call) -> str:
        """Makes a call on CPU storages between guards that hold one thing and then another.

        An operator without an answer of its own (one that hands out addresses, say) answers differently anyhow: only answers that
        stay the same while the guards do tell something about them.

        Returns:
            Why it is refused there; empty if it is not, or only because this memory cannot be resized.

        Raises:
            opinfo_adapters.derived.guards.WritesOutside: it changed a guard.
            ReadsOutside: its answer depends on what the guards hold.
            ValuesRefused: it is for an accelerator, and the CPU refuses the values that it is given.
        """
        zeros, others = self._between_guards(call, 0), self._between_guards(call, 1)
        if not self._is_cpu and _is_refused_for_values(zeros):
            raise ValuesRefused(f"the CPU refuses it: {zeros[1]}")
        # Once more in the opposite order: what is left in new memory by the run before, which some kernels return, differs then.
        if zeros != others and (others, zeros) == (self._between_guards(call, 1), self._between_guards(call, 0)):
            raise ReadsOutside("reads outside of the tensors that it is given")
        refusals = [str(answer[1]) for answer in (zeros, others) if answer and isinstance(answer[0], type)]
        return "" if any(_NOT_RESIZABLE in text for text in refusals) else next(iter(refusals), "")

    def _between_guards(self, call: Call, filling: int) -> list[object]:
        """What a call answers on storages between guards of zeros, or of what nothing can be made of; nothing if it has none."""
        given = build(call, "cpu")
        with guards.between(given, filling) as (args, kwargs), _filled_allocations(), torch.random.fork_rng(devices=()):
            try:
                with torch.no_grad():
                    torch.manual_seed(0)
                    result = self._op(*args, **kwargs)
            except BaseException as error:  # what it is worth, the call itself will tell: this memory cannot be resized, for one
                return [type(error), str(error)]
            if all(given is moved for given, moved in zip(tree_leaves(given), tree_leaves((args, kwargs)), strict=True)):
                return []
            seen = (result, args, kwargs) if self._op._schema.is_mutable else result
            return [leaf.shape if is_opaque(leaf, self._name) else _content(leaf) for leaf in tree_leaves(seen)]

    @property
    def refused(self) -> Counter[str]:
        """How many calls were not accepted, by what raised."""
        counts: Counter[str] = Counter()
        for (name, _), count in self._refusals.items():
            counts[name] += count
        return counts

    def why(self) -> str:
        """What most calls were refused for, as one sentence; empty if none was."""
        return ": ".join(self._refusals.most_common(1)[0][0]) if self._refusals else ""

    def refuse(self, error: BaseException) -> BaseException:
        """Counts a call as refused, by its kernel or by whoever was asked before.

        Raises:
            Unusable: it has cost this process its device.
        """
        check_not_lost(error, self._wait)
        self._refusals[type(error).__name__, _sentence(error)] += 1
        return error


def _sentence(error: BaseException) -> str:
    """What an error says first, without what differs between two processes or builds."""
    text = _OF_A_BUILD.sub("", (str(error).splitlines() or [""])[0])
    return re.split(r"[.;] ", _ADDRESS.sub("0x...", text), maxsplit=1)[0].rstrip(" .:")[:120]


def _tight(call: Call) -> Call:
    """The call on storages that end where its tensors do, as it is printed too: what else they held is no argument."""

    starts = [0] * len(call.storages)  # an empty tensor reaches nothing, but its offset has to lie in its storage
    for tensor in call.tensors:
        if "storage" in tensor:
            start = tensor["offset"] * getattr(torch, tensor["dtype"]).itemsize
            starts[tensor["storage"]] = max(starts[tensor["storage"]], start)

    def end(storage: dict[str, Any], start: int) -> int:
        first, _, length = storage.get("bytes", (0, 0, 0))
        return min(storage["nbytes"], max(start, storage["nbytes"] if "fill" in storage else first + length))

    return replace(call, storages=[{**s, "nbytes": end(s, start)} for s, start in zip(call.storages, starts, strict=True)])


def _is_refused_for_values(answer: list[object]) -> bool:
    """Whether an answer is an exception, and one about what the tensors hold."""
    match answer:
        case [type() as raised, str(text)] if issubclass(raised, IndexError | RuntimeError | ValueError):
            return raised is IndexError or (raised is not NotImplementedError and bool(_OF_VALUES.search(text)))
    return False


class ReadsOutside(Exception):
    """A kernel made its answer of what is not its argument."""


class ValuesRefused(Exception):
    """What is asked for lies outside of what there is, and only the CPU can say so and live."""


def _content(leaf: object) -> object:
    """What two answers are compared by: the bytes of a strided tensor, of another one its size alone."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    if not is_strided(leaf) or leaf.device.type != "cpu":
        return leaf.layout, leaf.dtype, None if leaf.is_nested else leaf.shape
    plain = leaf.detach().resolve_conj().resolve_neg().contiguous()
    return leaf.dtype, leaf.shape, plain.reshape(-1).view(torch.uint8).numpy().tobytes()


@contextmanager
def _filled_allocations() -> Iterator[None]:
    """New memory holds the same each time, so that an operator that leaves some of it as it came answers the same."""
    before = torch._C._get_deterministic_algorithms(), torch._C._get_deterministic_algorithms_warn_only()
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch._C._set_deterministic_algorithms(before[0], warn_only=before[1])
