"""Trying calls that nobody has made yet: what the kernel accepts is kept, what it refuses says why.

A kernel that writes outside of the tensors it is given does so in silence, and some other call crashes for it. So what an
overload writes to lies between guards of known bytes the first time, and a call that changes those is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch

from sweep import process_group
from sweep.accelerator import check_not_lost, waiter
from sweep.calls import Call, Unrecordable, build, encode
from sweep.corpus import aligned
from sweep.process_state import Guard

#: A call of more tensor elements than this is not tried: it would cost more than it tells.
LARGEST = 200_000

#: Bytes of guard on each side of a storage, and what they hold.
_GUARD = 4096
_PATTERN = bytes([0xA5]) * _GUARD


class Attempts:
    """Tries the calls of one overload, each from its plain-data form, so that what works once works again.

    Args:
        name: qualified name of the overload.
        op: the overload.
        device: the device under test.
        mark: is told the number of each attempt just before it is made.
        skip: numbers of attempts not to make, because they took a process with them.
        crashes: those of them that are kept all the same, since they do so every time.
        only: the one attempt to make, to see whether it does.

    Attributes:
        kept: the calls that were accepted, in the order in which they were made.
        refused: how many were not, by what raised.
        last: the last refusal.
    """

    def __init__(
        self,
        name: str,
        op: torch._ops.OpOverload,
        device: str,
        mark: Callable[[int, str], None],
        skip: Collection[int] = (),
        crashes: Collection[int] = (),
        only: int | None = None,
    ) -> None:
        self.kept: list[Call] = []
        self.refused: Counter[str] = Counter()
        self.last = ""
        self._name, self._op, self._device = name, op, device
        self._mark, self._skip, self._crashes, self._only = mark, frozenset(skip), frozenset(crashes), only
        self._made = 0
        self._keys: set[str] = set()
        process_group.ensure_for(name)
        self._guard = Guard()
        self._wait = waiter(device)

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
            call = encode(self._name, tuple(args), kwargs, device=self._device, source=source, layout=layout)
        except Unrecordable as reason:
            return self._refuse(reason)
        if call.key() in self._keys or call.cost() > LARGEST:
            return None
        self._keys.add(call.key())
        number, self._made = self._made, self._made + 1
        if number in self._crashes:
            self.kept.append(call)
            return None
        if number in self._skip or self._only not in (None, number):
            return self._refuse(RuntimeError("takes the process with it"))
        self._mark(number, "attempt")
        try:
            self._check_writes(call)
            own_args, own_kwargs = build(call, self._device)
            with torch.no_grad():
                self._op(*own_args, **own_kwargs)
            self._wait()
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: this process belongs to its calls
            check_not_lost(error, self._wait)
            return self._refuse(error.with_traceback(None))
        finally:
            self._guard.restore()
        self.kept.append(call)
        return None

    def _check_writes(self, call: Call) -> None:
        """Makes a call that writes on CPU storages between guards.

        Raises:
            WritesOutside: it changed a guard.
        """
        if not self._op._schema.is_mutable or torch.device(self._device).type != "cpu":
            return
        args, kwargs = build(call, self._device)
        memory: dict[int, tuple[Any, torch.UntypedStorage]] = {}
        args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: _guarded(t, memory), (args, kwargs))
        try:
            with torch.no_grad():
                self._op(*args, **kwargs)
        except RuntimeError as error:
            if "resizable" not in str(error):  # this memory is not, and where it has to be the call itself will tell
                raise
        if any(block[:_GUARD].tobytes() != _PATTERN or block[-_GUARD:].tobytes() != _PATTERN for block, _ in memory.values()):
            raise WritesOutside("writes outside of the tensors that it is given")

    def _refuse(self, error: BaseException) -> BaseException:
        self.refused[type(error).__name__] += 1
        self.last = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
        return error


class WritesOutside(Exception):
    """A kernel wrote where it has no business."""


def _guarded(tensor: torch.Tensor, memory: dict[int, tuple[Any, torch.UntypedStorage]]) -> torch.Tensor:
    """A strided tensor on a copy of its storage between guards; tensors that share a storage share the copy."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or not tensor.untyped_storage().nbytes():
        return tensor
    storage = tensor.untyped_storage()
    if storage._cdata not in memory:
        block = aligned(np.frombuffer(_PATTERN + bytes(storage.nbytes()) + _PATTERN, np.uint8))
        inner = torch.frombuffer(block, dtype=torch.uint8, offset=_GUARD, count=storage.nbytes())
        inner.copy_(torch.empty(0, dtype=torch.uint8).set_(storage))
        memory[storage._cdata] = block, inner.untyped_storage()
    copy = torch.empty(0, dtype=tensor.dtype)
    copy.set_(memory[storage._cdata][1], tensor.storage_offset(), tensor.shape, tensor.stride())
    torch._C._set_conj(copy, tensor.is_conj())
    torch._C._set_neg(copy, tensor.is_neg())
    return copy
