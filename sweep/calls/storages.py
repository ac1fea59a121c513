"""Values of storages: which bytes are kept, in which form, and how a storage is built again from them.

Which storages a call has is decided by the encoder in ``values``.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from sweep.calls.call import ALIGNMENT, StorageData, Unrecordable
from sweep.calls.tensors import bytes_of

#: A floating-point storage of more bytes than this is not kept but refilled with seeded uniform values of the same range. No
#: kernel accepts or refuses an argument of that size by its values, and a few samples would otherwise be most of the corpus.
KEPT_BYTES = 64 * 1024

#: Limit in bytes for the values of one call. What exceeds it are large sparse index lists; the recording's log counts them.
LARGEST_BYTES = 1024 * 1024

#: Number of different values in a refilled storage, which repeats them: generating more takes longer and shows nothing new.
_REFILL_BLOCK = 1 << 14


@dataclass
class StorageUse:
    """What the tensors of a call use of one storage.

    Attributes:
        storage: the storage.
        tensor: a tensor on it, if there is one.
        first: first byte in use.
        last: end of the bytes in use.
        is_floating: whether all tensors on it are of a floating-point or complex dtype.
        floating_dtype: name of the first such dtype.
        is_argument: whether the storage is itself an argument.
    """

    storage: torch.UntypedStorage
    tensor: torch.Tensor | None
    first: int
    last: int
    is_floating: bool
    floating_dtype: str = ""
    is_argument: bool = False

    def add(self, first: int, last: int, *, is_floating: bool) -> None:
        """Extend the bytes in use."""
        self.first, self.last = min(self.first, first), max(self.last, last)
        self.is_floating &= is_floating


@dataclass(frozen=True)
class ValueLimits:
    """How many bytes of values a call keeps.

    Attributes:
        floating: a floating-point storage of more bytes is refilled.
        total: the limit for all values of a call.
    """

    floating: int = KEPT_BYTES
    total: int = LARGEST_BYTES


#: The limits of calls that are recorded for a corpus.
CORPUS_LIMITS = ValueLimits()

#: Those of calls that a user writes, which are few, and whose values may be what matters.
TEXT_LIMITS = ValueLimits(floating=64 << 20, total=256 << 20)


def encode_storage(use: StorageUse, device: str, data: bytearray, limits: ValueLimits = CORPUS_LIMITS) -> StorageData:
    """JSON form of a storage; its values are appended to ``data``.

    Args:
        use: the storage, and what is used of it.
        device: name of its device, as :class:`StorageData` has it.
        data: the block of values of the call.
        limits: how many bytes of values may be kept.

    Raises:
        Unrecordable: the values of the call exceed the limit in total.
    """
    nbytes = use.storage.nbytes()
    encoded: StorageData = {"nbytes": nbytes, "device": device}
    if use.is_argument:
        encoded["argument"] = True
    last = min(use.last, nbytes)
    first = min(use.first, last)
    length = last - first
    if use.is_floating and length > limits.floating:
        low, high = _finite_range(bytes_of(use.storage)[first:last].cpu(), getattr(torch, use.floating_dtype))
        encoded["fill"] = [use.floating_dtype, low, high]
    elif length:
        if len(data) + length > limits.total:
            raise Unrecordable(f"more than {limits.total} bytes of values")
        data.extend(bytes(-len(data) % ALIGNMENT))
        encoded["bytes"] = [first, len(data), length]
        data += _read(use, first, last)
    return encoded


def _read(use: StorageUse, first: int, last: int) -> bytes:
    """Copy of some bytes of a storage.

    The address is read without asking for write access, which would make a copy-on-write storage copy itself, and without lending
    the memory to NumPy, after which the call could not resize it.
    """
    if use.storage.device.type == "cpu":
        tensor = bytes_of(use.storage) if use.tensor is None else use.tensor
        return ctypes.string_at(torch._C._data_address(tensor) + first, last - first)
    raw: bytes = bytes_of(use.storage)[first:last].to("cpu", copy=True).numpy().tobytes()
    return raw


def _finite_range(raw: torch.Tensor, dtype: torch.dtype) -> tuple[str, str]:
    """Lowest and highest finite real value in raw bytes, as ``repr`` text; ``0.0`` and ``1.0`` where there is none."""
    usable = raw[: raw.numel() // dtype.itemsize * dtype.itemsize].clone().view(dtype)
    real = torch.view_as_real(usable) if dtype.is_complex and dtype is not torch.complex32 else usable
    real = real.to(torch.float64 if not dtype.is_complex or real.dtype.is_floating_point else torch.complex128)
    real = torch.view_as_real(real).flatten() if real.dtype.is_complex else real.flatten()
    real = real[real.isfinite()]
    return (repr(real.min().item()), repr(real.max().item())) if real.numel() else ("0.0", "1.0")


def build_storage(
    encoded: StorageData, data: memoryview | bytearray, device: torch.device, *, own: bool = True
) -> torch.UntypedStorage:
    """Storage with the recorded values, or refilled if it was too large to keep.

    Args:
        encoded: JSON form of the storage.
        data: the block of values of the call.
        device: where to build it.
        own: give it memory of its own; otherwise it may be a view on ``data``.
    """
    nbytes = encoded["nbytes"]
    if not nbytes:
        return torch.UntypedStorage(0, device=device)
    kept = encoded.get("bytes")
    if kept is not None:
        first, position, length = kept
        raw = torch.frombuffer(data, dtype=torch.uint8, count=length, offset=position)
        if length != nbytes:
            whole = torch.zeros(nbytes, dtype=torch.uint8)
            whole[first : first + length] = raw
        elif own or device.type != "cpu":
            whole = raw.clone()
        else:
            whole = raw
    elif "fill" in encoded:
        whole = _refill(encoded["fill"], nbytes)
    else:
        whole = torch.zeros(nbytes, dtype=torch.uint8)
    return (whole if device.type == "cpu" else whole.to(device)).untyped_storage()


def _refill(fill: list[str], nbytes: int) -> torch.Tensor:
    """Seeded uniform values between the recorded lowest and highest, as bytes."""
    dtype = getattr(torch, fill[0])
    low, high = float(fill[1]), float(fill[2])
    generator = torch.Generator().manual_seed(0)
    block = torch.rand(_REFILL_BLOCK, generator=generator, dtype=torch.float64) * (high - low) + low
    block = torch.view_as_complex(block.view(-1, 2)) if dtype.is_complex else block
    block_bytes = block.to(dtype).view(torch.uint8)
    return block_bytes.repeat(-(-nbytes // block_bytes.numel()))[:nbytes]
