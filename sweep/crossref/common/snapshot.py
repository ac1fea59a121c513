"""Snapshots of a call's arguments: the bytes and metadata of every tensor before the call, to see what the call has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sweep.calls.tensors import bytes_of, is_strided, parts_of
from sweep.crossref.common.comparison import same


@dataclass(frozen=True)
class _Saved:
    """One tensor as it was.

    Attributes:
        tensor: the tensor.
        metadata: what describes it beside its bytes.
        memory: its storages, or those of its parts.
        content: a copy of the bytes of each.
        dense: a dense copy of an mkldnn tensor, whose memory nobody else can reach; else ``None``.
    """

    tensor: torch.Tensor
    metadata: tuple[Any, ...]
    memory: list[torch.UntypedStorage]
    content: list[torch.Tensor]
    dense: torch.Tensor | None

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Saved:
        memory = memory_of(tensor)
        dense = tensor.to_dense() if tensor.is_mkldnn else None
        return cls(tensor, _metadata(tensor), memory, [bytes_of(storage).clone() for storage in memory], dense)

    def is_changed(self) -> bool:
        """Whether a byte of its memory, or its metadata, is another one. NaNs are bytes like all others."""
        if _metadata(self.tensor) != self.metadata:
            return True
        if self.dense is not None:
            return not same(self.dense, self.tensor.to_dense()).all()
        memory = memory_of(self.tensor)
        return len(memory) != len(self.content) or any(
            storage.nbytes() != before.numel() or not torch.equal(bytes_of(storage), before)
            for storage, before in zip(memory, self.content, strict=True)
        )

    def restore(self) -> None:
        """Gives the memory that it had its bytes back, as far as that has its size."""
        for storage, before in zip(self.memory, self.content, strict=True):
            if storage.nbytes() == before.numel():
                bytes_of(storage).copy_(before)


class Snapshot:
    """The tensors among some arguments as they are now.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        named = [*((str(at), value) for at, value in enumerate(args)), *kwargs.items()]
        self._saved = [(name, _Saved.of(tensor)) for name, value in named for tensor in _tensors(value)]

    def changed(self) -> list[str]:
        """The arguments that have changed since, by position or keyword, each once."""
        return list(dict.fromkeys(name for name, saved in self._saved if saved.is_changed()))

    def restore(self) -> None:
        """Undoes what has been written to their memory since."""
        for _, saved in self._saved:
            saved.restore()


def memory_of(tensor: torch.Tensor) -> list[torch.UntypedStorage]:
    """The storages that hold a tensor: its own, or those of the strided tensors that it consists of; an mkldnn one has none."""
    if tensor.is_mkldnn:
        return []
    if is_strided(tensor) or tensor.is_quantized:
        return [tensor.untyped_storage()] if torch._C._has_storage(tensor) else []
    return [part.untyped_storage() for part in parts_of(tensor).values()]


def _metadata(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.is_nested:
        return tensor.dtype, tensor.requires_grad
    described = (tensor.dtype, tuple(tensor.shape), tensor.layout, tensor.requires_grad)
    if is_strided(tensor):
        return *described, tensor.stride(), tensor.storage_offset(), tensor.is_conj(), tensor.is_neg()
    return *described, tensor.layout is torch.sparse_coo and tensor.is_coalesced()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of an argument."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
