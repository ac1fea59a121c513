"""Fake arguments with symbolic sizes, as ``torch.compile`` has them, and the values of their symbols."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import sympy
import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils._pytree import tree_leaves

from sweep.calls.tensors import extent, is_plain, is_strided
from sweep.crossref.common.comparison import Outcome


class Sizes(enum.Enum):
    """What is known about a symbolic size: its value, which guards may look at, or nothing."""

    BACKED = DimDynamic.DUCK
    UNBACKED = DimDynamic.UNBACKED


def why_not_symbolic(args: Any, kwargs: dict[str, Any]) -> str | None:
    """Why the sizes of some arguments are not made symbolic; ``None`` if they are."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if not all(is_strided(tensor) and is_plain(tensor) for tensor in tensors):
        return "only strided tensors have symbolic sizes"
    if not any(size > 1 for tensor in tensors for size in tensor.shape):
        return "no tensor has a size other than 0 and 1, which are constants"
    return None


class _ShapeEnv(ShapeEnv):
    """A shape environment in which equal sizes share a symbol if they are unbacked, too."""

    def __init__(self) -> None:
        super().__init__()
        self._unbacked: dict[int, sympy.Symbol] = {}

    def create_symbol(self, val: Any, source: Any, dynamic_dim: DimDynamic = DimDynamic.DUCK, *args: Any, **kwargs: Any) -> Any:
        if dynamic_dim is not DimDynamic.UNBACKED:
            return super().create_symbol(val, source, dynamic_dim, *args, **kwargs)
        symbol = self._unbacked.get(val)
        if symbol is None:
            symbol = self._unbacked[val] = super().create_symbol(val, source, dynamic_dim, *args, **kwargs)
        return symbol


class SymbolicArguments:
    """Fake versions of the arguments of one call with symbolic sizes, in a fake mode of their own.

    Symbols are created by ``ShapeEnv.create_symbolic_sizes_strides_storage_offset``, as in dynamo: 0 and 1 are constants, equal
    sizes share a symbol, and strides are expressions in sizes wherever they can be. Dynamo makes a symbol of its own for
    each unbacked size; here equal ones share a symbol too, as if the caller had said that they are equal.

    A tensor that shares its storage with others, or that does not fill it, is a view on a one-dimensional base, whose number of
    elements is a symbol as well. A storage that is itself an argument, or that of a tensor without any symbol, keeps its size.

    Args:
        real: the real arguments, positional and by keyword; :func:`why_not_symbolic` allows for them.
        sizes: what is known about sizes.
    """

    def __init__(self, real: tuple[Any, dict[str, Any]], sizes: Sizes) -> None:
        self._sizes = sizes
        self._env = _ShapeEnv()
        self.mode = FakeTensorMode(shape_env=self._env)
        self.mode.cache_enabled = False  # an outcome must not depend on what was made before
        self._values: dict[sympy.Symbol, sympy.Integer] = {}
        self._fakes: dict[int, FakeTensor] = {}
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._created = 0
        leaves = tree_leaves(real)
        self._shared = _shared_storages(leaves)
        self._arguments = {leaf._cdata for leaf in leaves if isinstance(leaf, torch.UntypedStorage)}
        self._real = real  # kept alive, since the memos go by address
        self.args = [self._fake(value) for value in real[0]]
        self.kwargs = {name: self._fake(value) for name, value in real[1].items()}

    def outcome(self, op: torch._ops.OpOverload) -> Outcome:
        """The outcome of an overload, which is called as dynamo calls it; raises whatever it raises."""
        with self.mode, enable_python_dispatcher():
            return Outcome(self.args, self.kwargs, op(*self.args, **self.kwargs))

    def number(self, value: Any) -> int | None:
        """The real value of a size, stride or offset; ``None`` if it has a symbol that the operator made."""
        if not isinstance(value, torch.SymInt):
            return int(value)
        number = value.node.expr.xreplace(self._values)
        return None if number.free_symbols else int(number)

    def _fake(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            fake = self._fakes.get(id(value))
            if fake is None:
                fake = self._fakes[id(value)] = self._fake_tensor(value)
            return fake
        if isinstance(value, list | tuple):
            return type(value)(self._fake(v) for v in value)
        if isinstance(value, torch.UntypedStorage):
            return self._storage(value, 1)
        return value

    def _fake_tensor(self, real: torch.Tensor) -> FakeTensor:
        size, stride, offset = self._symbols(real)
        if self._fills_storage(real):
            meta = torch.empty_strided(size, stride, dtype=real.dtype, device="meta")
        else:
            storage = real.untyped_storage()
            has_symbol = any(isinstance(number, torch.SymInt) for number in (*size, *stride, offset))
            if has_symbol or storage._cdata in self._shared:
                storage = self._storage(storage, real.itemsize)
            else:
                storage = torch.UntypedStorage(storage.nbytes(), device="meta")
            meta = torch.empty(0, dtype=real.dtype, device="meta")
            with self._env.suppress_guards():
                meta.set_(storage, offset, size, stride)
            if not meta.is_inference():  # which has no version counter
                torch._C._autograd._unsafe_set_version_counter((meta,), (0,))
        torch._C._set_conj(meta, real.is_conj())
        torch._C._set_neg(meta, real.is_neg())
        return FakeTensor(self.mode, meta, real.device)

    def _symbols(self, real: torch.Tensor) -> tuple[Any, Any, Any]:
        """Symbolic sizes, strides and storage offset."""
        unbacked = self._sizes is Sizes.UNBACKED
        dynamic = [DimDynamic.STATIC if unbacked and size < 2 else self._sizes.value for size in real.shape]
        symbolic = self._env.create_symbolic_sizes_strides_storage_offset(
            real, self._source(), symbolic_context=StatelessSymbolicContext(dynamic_sizes=dynamic)
        )
        self._remember([*symbolic[0], *symbolic[1], symbolic[2]], [*real.shape, *real.stride(), real.storage_offset()])
        return symbolic

    def _storage(self, real: torch.UntypedStorage, itemsize: int) -> torch.UntypedStorage:
        """The storage of a base of symbolic size, of elements of so many bytes, or one of the same size if it is an argument."""
        storage = self._storages.get(real._cdata)
        if storage is None:
            nbytes = real.nbytes()
            if real._cdata in self._arguments:
                storage = torch.UntypedStorage(nbytes, device="meta")
            else:
                source, elements = self._source(), nbytes // itemsize
                symbol = self._env.create_symbol(elements, source, DimDynamic.DYNAMIC)
                size = self._env.create_symintnode(symbol, hint=elements, source=source)
                self._remember([size], [elements])
                storage = torch.empty(size * itemsize, dtype=torch.uint8, device="meta").untyped_storage()
            self._storages[real._cdata] = storage
        return storage

    def _fills_storage(self, real: torch.Tensor) -> bool:
        storage = real.untyped_storage()
        if storage._cdata in self._shared or real.storage_offset():
            return False
        return extent(real.shape, real.stride()) * real.itemsize == storage.nbytes()

    def _source(self) -> ConstantSource:
        self._created += 1
        return ConstantSource(f"argument_{self._created}")

    def _remember(self, symbolic: Iterable[Any], real: Iterable[int]) -> None:
        """Remembers the values of new symbols; every symbol is first created for a number of its own."""
        for value, number in zip(symbolic, real, strict=True):
            if isinstance(value, torch.SymInt) and isinstance(value.node.expr, sympy.Symbol):
                self._values[value.node.expr] = sympy.Integer(number)


def _shared_storages(leaves: Iterable[Any]) -> set[int]:
    """The addresses of the storages of which there is more than one tensor, or which are arguments themselves."""
    tensors = {id(leaf): leaf.untyped_storage() for leaf in leaves if isinstance(leaf, torch.Tensor)}
    seen = {leaf._cdata for leaf in leaves if isinstance(leaf, torch.UntypedStorage)}
    shared = set(seen)
    for storage in tensors.values():
        if storage._cdata in seen:
            shared.add(storage._cdata)
        seen.add(storage._cdata)
    return shared
