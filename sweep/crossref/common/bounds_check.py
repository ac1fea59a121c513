"""Bounds checks: whether a call reads or writes memory outside of its tensors.

The call is made on the CPU, on storages between redzones: once with zeros in them and once with poison. It writes outside if a
redzone changes, and reads outside if its answer depends on what the redzones hold. What follows from that is up to the caller:
recording keeps such a call apart, and crossref ``bounds`` reports it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sweep.calls import redzones
from sweep.calls.new_memory import filled
from sweep.calls.recipes import is_opaque
from sweep.calls.redzones import Filling, Redzone
from sweep.calls.tensors import is_strided
from sweep.crossref.common.protocol import Arguments
from sweep.findings.kind import Edge
from sweep.operators.required_state import no_gradients
from sweep.operators.schema import by_name, written_names

#: The byte in new memory while the redzones hold zeros, and while they hold poison.
NEW_MEMORY = {Filling.ZEROS: 0x6B, Filling.POISON: 0x2D}

#: torch's words for memory that it has not allocated itself, and can therefore not resize.
_NOT_RESIZABLE = "not resizable"


class ReadsOutside(Exception):
    """A kernel's answer depends on memory outside of the tensors that it was passed."""


class NoAnswer(enum.Enum):
    """Stands for the answer of a call none of whose tensors can be moved between redzones."""

    NOT_MOVED = enum.auto()


@dataclass(frozen=True)
class Refusal:
    """The answer of a call that raised.

    Attributes:
        error_class: class of the exception.
        message: its text.
    """

    error_class: type[BaseException]
    message: str

    @property
    def is_about_memory(self) -> bool:
        """Whether only memory between redzones is refused, since it cannot be resized."""
        return _NOT_RESIZABLE in self.message


@dataclass(frozen=True)
class Returned:
    """The answer of a call that returned: the content of its results, and of its arguments if it writes to them."""

    content: tuple[Any, ...]


Answer = NoAnswer | Refusal | Returned


class BoundsCheck:
    """Checks the calls of one overload. Every method takes a function that returns the arguments of the call.

    Args:
        name: qualified name of the overload.
        op: the overload.
        inspect: is given the result of every call that returns, and its arguments before they were moved.
    """

    def __init__(
        self, name: str, op: torch._ops.OpOverload, inspect: Callable[[Any, Any], None] = lambda result, built: None
    ) -> None:
        self._name, self._op, self._inspect = name, op, inspect
        self._is_mutable = op._schema.is_mutable

    def answers(self, arguments: Callable[[], Arguments]) -> tuple[Answer, Answer]:
        """The answers with zeros and with poison in the redzones.

        Raises:
            WritesOutside: a redzone has changed.
        """
        return self.answer(arguments, Filling.ZEROS), self.answer(arguments, Filling.POISON)

    def answers_in_new_memory(self, arguments: Callable[[], Arguments]) -> tuple[Answer, Answer]:
        """As :meth:`answers`, with other new memory each time too: equal answers depend on neither.

        Raises:
            WritesOutside: a redzone has changed.
        """
        answers = []
        for filling, byte in NEW_MEMORY.items():
            with filled(byte):
                answers.append(self.answer(arguments, filling))
        return answers[0], answers[1]

    def depends(self, arguments: Callable[[], Arguments], with_zeros: Answer, with_poison: Answer) -> bool:
        """Whether answers differ because of the redzones, and not by chance.

        The calls are repeated in the opposite order. Answers that follow the order come from what the call before left in memory,
        which some kernels return; answers that change every time, such as addresses, show nothing either.

        Raises:
            WritesOutside: a redzone has changed.
        """
        if with_zeros == with_poison:
            return False
        poison_again = self.answer(arguments, Filling.POISON)
        zeros_again = self.answer(arguments, Filling.ZEROS)
        return (with_zeros, with_poison) == (zeros_again, poison_again)

    def redzones_read(self, arguments: Callable[[], Arguments]) -> list[Redzone]:
        """The redzones on which the answer depends each by itself.

        Raises:
            WritesOutside: a redzone has changed.
        """
        count = len(redzones.movable(arguments()))
        with_zeros = self.answer(arguments, Filling.ZEROS)
        every = [Redzone(storage, edge) for storage in range(count) for edge in Edge]
        return [redzone for redzone in every if self.answer(arguments, Filling.POISON, redzone) != with_zeros]

    def check_end(self, arguments: Callable[[], Arguments]) -> None:
        """Make a call that is refused between redzones, but accepted otherwise, on storages that continue behind its tensors.

        Those are allocated by torch and can be resized, which some operators insist on.

        Raises:
            ReadsOutside: it is refused because of what lies behind its tensors.
        """
        for filling in Filling:
            args, kwargs = redzones.on_longer(arguments(), filling)
            try:
                with no_gradients(self._name):
                    self._op(*args, **kwargs)
            except Exception as error:
                raise ReadsOutside(f"accepts it for what lies outside of the tensors that it is given; else: {error}") from None

    def answer(self, arguments: Callable[[], Arguments], filling: Filling, only: Redzone | None = None) -> Answer:
        """The answer on memory between redzones; the arguments that the call resizes, if any, are left where they are.

        Args:
            arguments: returns the arguments of the call.
            filling: content of the redzones.
            only: the one redzone with that content; the others hold zeros.

        Raises:
            WritesOutside: a redzone has changed.
        """
        answer = self._answer_between(arguments(), filling, only, resizes=False)
        if self._is_mutable and isinstance(answer, Refusal) and answer.is_about_memory:
            return self._answer_between(arguments(), filling, only, resizes=True)
        return answer

    def _answer_between(self, built: Arguments, filling: Filling, only: Redzone | None, *, resizes: bool) -> Answer:
        fixed = self._written(*built) if resizes else ()
        with redzones.between(built, filling, fixed, only) as (args, kwargs), _reproducible():
            try:
                with no_gradients(self._name):
                    result = self._op(*args, **kwargs)
            except BaseException as error:  # the call may be accepted elsewhere: this memory cannot be resized, for one
                return Refusal(type(error), str(error))
            self._inspect(result, (args, kwargs))
            if all(before is after for before, after in zip(_leaves(built), _leaves((args, kwargs)), strict=True)):
                return NoAnswer.NOT_MOVED
            shown = (result, args, kwargs) if self._is_mutable else result
            return Returned(tuple(leaf.shape if is_opaque(leaf, self._name) else _content(leaf) for leaf in _leaves(shown)))

    def _written(self, args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
        """The arguments that the call writes to."""
        values = by_name(self._op, args, kwargs)
        return [values[name] for name in written_names(self._op) if name in values]


def outputs_of(result: Any) -> Sequence[Any]:
    """The outputs of a result; the members of a list are outputs of their own here."""
    return result if isinstance(result, tuple | list) else [result]


def _leaves(value: Any) -> Iterator[Any]:
    """The values in a structure of lists, tuples and dictionaries."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    else:
        yield value


def _content(leaf: Any) -> Any:
    """What two answers are compared by: the bytes of a strided tensor, only the metadata of any other one."""
    if isinstance(leaf, torch.ScriptObject):  # which refuses to be compared
        return str(leaf._type().qualified_name())
    if not isinstance(leaf, torch.Tensor):
        return leaf
    is_of_cpu = torch._C._dispatch_keys(leaf).has(torch._C.DispatchKey.CPU)  # unlike a batched tensor, which has no memory
    if not is_strided(leaf) or not is_of_cpu or not leaf.numel():
        return leaf.layout, leaf.dtype, None if leaf.is_nested else leaf.shape
    plain = leaf.detach().resolve_conj().resolve_neg().contiguous()
    # A single element may have any stride, and then no view as bytes.
    flat = plain.reshape(-1) if plain.numel() > 1 else plain.reshape(()).reshape(1)
    return leaf.dtype, leaf.shape, flat.view(torch.uint8).numpy().tobytes()


@contextmanager
def _reproducible() -> Iterator[None]:
    """Context in which random numbers and new memory are the same every time; the generator is restored on leaving.

    Only the CPU's generator is seeded: ``torch.manual_seed`` also queues a call, with a formatted traceback, for every
    accelerator that is not initialized.
    """
    deterministic, warn_only = torch._C._get_deterministic_algorithms(), torch._C._get_deterministic_algorithms_warn_only()
    generator = torch.default_generator
    state = generator.get_state()
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    generator.manual_seed(0)
    try:
        yield
    finally:
        torch._C._set_deterministic_algorithms(deterministic, warn_only=warn_only)
        generator.set_state(state)
