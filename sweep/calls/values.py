"""The table of argument types: how values of each type are encoded, decoded, printed, told apart and searched for tensors.

An argument type that is not here cannot be recorded; adding it is adding one entry to ``TABLE``. Walking the arguments of a whole
call lives in ``codec``, printing tensors in ``printing``.

A value has two plain forms. The *encoded* form is hashable: an ``int``, a ``str``, ``None``, or a tuple of a tag and the data of
that type. ``codec.signature`` consists of it. The *JSON* form, which the corpus stores, is derived from the encoded form alone:
two values have the same identity there exactly if they have the same signature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Protocol

import torch

from sweep.calls.call import Call, Unrecordable
from sweep.calls.recipes import WITH_WORKSPACE, recipe_of, remember, was_built
from sweep.calls.tensors import PLAIN
from sweep.operators import process_group
from sweep.operators.inventory import resolve

#: What identifies a call argument in ``features``: its position or name, or for items of lists a tuple around that.
Place = Hashable


class Encoder(Protocol):
    """What an entry needs to encode a value that contains others."""

    def value(self, value: Any) -> Any:
        """The encoded form of a contained value."""

    def tensor(self, tensor: torch.Tensor) -> int:
        """Position of a tensor among those of the call."""

    def storage(self, storage: torch.UntypedStorage) -> int:
        """Position of a storage argument among the storages of the call."""

    def place(self, device_type: str) -> str:
        """Name of a device: ``self`` for the device under test, or ``cpu``."""


class Decoder(Protocol):
    """What an entry needs to decode a value that contains others."""

    tensors: list[torch.Tensor]
    storages: list[torch.UntypedStorage]

    def value(self, data: Any) -> Any:
        """A contained value from its JSON form."""

    def device(self, name: str) -> torch.device:
        """The device of a name, as :meth:`Encoder.place` returns it."""


class Printer(Protocol):
    """What an entry needs to print a value that contains others."""

    def value(self, data: Any) -> str:
        """A contained value as Python."""

    def tensor(self, position: int) -> str:
        """A tensor as Python."""

    def storage(self, position: int) -> str:
        """A storage argument as Python."""

    def place(self, name: str) -> str:
        """The device of a name, as :meth:`Encoder.place` returns it, as text."""


class ArgumentType:
    """One type of arguments: an entry of ``TABLE``.

    The defaults suit a type whose data is one string or number.

    Attributes:
        tag: its name in plain forms. Tags are part of the identity of calls: renaming one changes their seeds.
    """

    tag: str

    def matches(self, kind: type) -> bool:
        """Whether values of a class are of this type; the first entry that matches is taken."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Whether a value of a class that matches is of this type, for classes that several entries match."""
        return True

    def encode(self, value: Any, encoder: Encoder) -> Any:
        """The encoded form of a value: hashable, ``(tag, data)``.

        Raises:
            Unrecordable: the value has no plain form.
        """
        raise NotImplementedError

    def as_json(self, data: Any) -> Any:
        """The JSON form of encoded data."""
        return {self.tag: data}

    def decode(self, data: Any, decoder: Decoder) -> Any:
        """The value from the data of its JSON form."""
        raise NotImplementedError

    def print(self, data: Any, printer: Printer) -> str:
        """Python that evaluates to the value, from the data of its JSON form; no names but ``torch``."""
        raise NotImplementedError

    def children(self, data: Any) -> Iterable[Any]:
        """The JSON forms of the values that a value contains."""
        return ()

    def features(self, data: Any, place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        """What distinguishes the value in kind (see :func:`features`)."""
        yield place, self.tag, ""


# --- types that JSON has, too --------------------------------------------------------------------------------------------


class NativeArgument(ArgumentType):
    """A value that is its own JSON form.

    Args:
        kind: its class.
    """

    def __init__(self, kind: type) -> None:
        self.tag = kind.__name__
        self._kind = kind

    def matches(self, kind: type) -> bool:
        return kind is self._kind

    def encode(self, value: Any, encoder: Encoder) -> Any:
        return value

    def decode(self, data: Any, decoder: Decoder) -> Any:
        return data

    def print(self, data: Any, printer: Printer) -> str:
        return repr(data)

    def features(self, data: Any, place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        yield place, "is", data


class BoolArgument(NativeArgument):
    """A bool. Its encoded form has a tag, since ``True == 1``."""

    def encode(self, value: Any, encoder: Encoder) -> Any:
        return self.tag, value

    def as_json(self, data: Any) -> Any:
        return data


class IntArgument(NativeArgument):
    """An int; enums and NumPy scalars that reach the dispatcher count as their value."""

    def matches(self, kind: type) -> bool:
        return issubclass(kind, int) and kind is not bool

    def encode(self, value: Any, encoder: Encoder) -> Any:
        return int(value)

    def features(self, data: Any, place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        yield place, self.tag


class ListArgument(ArgumentType):
    """A list; in JSON a list, too."""

    tag = "list"

    def matches(self, kind: type) -> bool:
        return issubclass(kind, list)

    def encode(self, value: list[Any], encoder: Encoder) -> Any:
        return self.tag, tuple(map(encoder.value, value))

    def as_json(self, data: tuple[Any, ...]) -> list[Any]:
        return list(map(as_json, data))

    def decode(self, data: list[Any], decoder: Decoder) -> list[Any]:
        return list(map(decoder.value, data))

    def print(self, data: list[Any], printer: Printer) -> str:
        return "[" + ", ".join(map(printer.value, data)) + "]"

    def children(self, data: list[Any]) -> Iterable[Any]:
        return data

    def features(self, data: list[Any], place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        yield place, "length", min(len(data), 4)
        if data and all(isinstance(item, bool) for item in data):
            yield place, "is", tuple(data)
        for item in data[:2]:
            yield from features_of(item, (place, "item"), call)


# --- numbers and structures ----------------------------------------------------------------------------------------------


class FloatArgument(ArgumentType):
    """A float as text: JSON has neither infinities nor NaN."""

    tag = "float"

    def matches(self, kind: type) -> bool:
        return issubclass(kind, float)

    def encode(self, value: float, encoder: Encoder) -> Any:
        return self.tag, repr(float(value))

    def decode(self, data: str, decoder: Decoder) -> float:
        return float(data)

    def print(self, data: str, printer: Printer) -> str:
        return number(float(data))


class ComplexArgument(ArgumentType):
    """A complex number as the texts of its real and imaginary part."""

    tag = "complex"

    def matches(self, kind: type) -> bool:
        return kind is complex

    def encode(self, value: complex, encoder: Encoder) -> Any:
        return self.tag, (repr(value.real), repr(value.imag))

    def as_json(self, data: tuple[str, str]) -> Any:
        return {self.tag: list(data)}

    def decode(self, data: list[str], decoder: Decoder) -> complex:
        return complex(float(data[0]), float(data[1]))

    def print(self, data: list[str], printer: Printer) -> str:
        return number(complex(float(data[0]), float(data[1])))


class TupleArgument(ListArgument):
    """A tuple; ``torch.Size`` and named tuples count as tuples."""

    tag = "tuple"

    def matches(self, kind: type) -> bool:
        return issubclass(kind, tuple)

    def as_json(self, data: tuple[Any, ...]) -> Any:
        return {self.tag: list(map(as_json, data))}

    def decode(self, data: list[Any], decoder: Decoder) -> tuple[Any, ...]:  # type: ignore[override]
        return tuple(map(decoder.value, data))

    def print(self, data: list[Any], printer: Printer) -> str:
        return "(" + ", ".join(map(printer.value, data)) + ("," if len(data) == 1 else "") + ")"

    def features(self, data: list[Any], place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        yield place, self.tag, ""


# --- torch's constants and devices ---------------------------------------------------------------------------------------


class ConstantArgument(ArgumentType):
    """A constant of torch, such as ``torch.strided``, by its name.

    Args:
        kind: the class of such constants.
    """

    def __init__(self, kind: type) -> None:
        self.tag = kind.__name__
        self._kind = kind

    def matches(self, kind: type) -> bool:
        return kind is self._kind

    def encode(self, value: Any, encoder: Encoder) -> Any:
        return self.tag, str(value).removeprefix("torch.")

    def decode(self, data: str, decoder: Decoder) -> Any:
        return getattr(torch, data)

    def print(self, data: str, printer: Printer) -> str:
        return f"torch.{data}"


class DtypeArgument(ConstantArgument):
    """A dtype, which distinguishes a call in kind."""

    def features(self, data: str, place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        yield place, self.tag, data


class DeviceArgument(ArgumentType):
    """A device: the one under test, or the CPU."""

    tag = "device"

    def matches(self, kind: type) -> bool:
        return kind is torch.device

    def encode(self, value: torch.device, encoder: Encoder) -> Any:
        return self.tag, encoder.place(value.type)

    def decode(self, data: str, decoder: Decoder) -> torch.device:
        return decoder.device(data)

    def print(self, data: str, printer: Printer) -> str:
        return f"torch.device({printer.place(data)!r})"


class GeneratorArgument(ArgumentType):
    """A generator by its device; its state does not count, and a decoded one is seeded with 0."""

    tag = "generator"

    def matches(self, kind: type) -> bool:
        return issubclass(kind, torch.Generator)

    def encode(self, value: torch.Generator, encoder: Encoder) -> Any:
        return self.tag, encoder.place(value.device.type)

    def decode(self, data: str, decoder: Decoder) -> torch.Generator:
        return torch.Generator(decoder.device(data)).manual_seed(0)

    def print(self, data: str, printer: Printer) -> str:
        return f"torch.Generator({printer.place(data)!r})"


# --- tensors, storages and objects ---------------------------------------------------------------------------------------


class TensorArgument(ArgumentType):
    """A tensor by its position among those of the call; one with a construction recipe is encoded as that."""

    tag = "tensor"

    def matches(self, kind: type) -> bool:
        return kind in PLAIN

    def encode(self, value: torch.Tensor, encoder: Encoder) -> Any:
        return BUILT.encode(value, encoder) if was_built(value) else (self.tag, encoder.tensor(value))

    def decode(self, data: int, decoder: Decoder) -> torch.Tensor:
        return decoder.tensors[data]

    def print(self, data: int, printer: Printer) -> str:
        return printer.tensor(data)

    def features(self, data: int, place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
        tensor = call.tensors[data]
        yield place, "dtype", tensor["dtype"]
        yield place, "rank", len(tensor.get("size", ())), tensor.get("layout", "strided")


class StorageArgument(ArgumentType):
    """A storage by its position among those of the call; a typed storage counts as its untyped one."""

    tag = "storage"

    def matches(self, kind: type) -> bool:
        return issubclass(kind, torch.UntypedStorage | torch.storage.TypedStorage)

    def encode(self, value: torch.UntypedStorage | torch.storage.TypedStorage, encoder: Encoder) -> Any:
        return self.tag, encoder.storage(value if isinstance(value, torch.UntypedStorage) else value.untyped())

    def decode(self, data: int, decoder: Decoder) -> torch.UntypedStorage:
        return decoder.storages[data]

    def print(self, data: int, printer: Printer) -> str:
        return printer.storage(data)


class ProcessGroupArgument(ArgumentType):
    """A process group or a reduction as an object of TorchScript.

    Args:
        tag: the one key of its plain form (see ``process_group.plain``).
        build: returns such an object.
        text: Python that does so.
    """

    def __init__(self, tag: str, build: Callable[[], Any], text: str) -> None:
        self.tag, self._build, self._text = tag, build, text

    def matches(self, kind: type) -> bool:
        return issubclass(kind, torch.ScriptObject)

    def accepts(self, value: torch.ScriptObject) -> bool:
        return self.tag in (process_group.plain(value) or ())

    def encode(self, value: torch.ScriptObject, encoder: Encoder) -> Any:
        return self.tag, (process_group.plain(value) or {})[self.tag]

    def decode(self, data: str, decoder: Decoder) -> Any:
        return self._build()

    def print(self, data: str, printer: Printer) -> str:
        return self._text


class DeviceMeshArgument(ArgumentType):
    """A device mesh by its type of device. Only one that equals that of the process group can be recorded."""

    tag = "device_mesh"

    def matches(self, kind: type) -> bool:
        return torch.distributed.is_available() and issubclass(kind, torch.distributed.device_mesh.DeviceMesh)

    def encode(self, value: Any, encoder: Encoder) -> Any:
        if value != process_group.mesh(value.device_type):
            raise Unrecordable("another device mesh than that of the process group")
        return self.tag, encoder.place(value.device_type)

    def decode(self, data: str, decoder: Decoder) -> Any:
        return process_group.mesh(decoder.device(data).type)

    def print(self, data: str, printer: Printer) -> str:
        device_type = printer.place(data).partition(":")[0]
        created = f"torch.distributed.init_device_mesh({device_type!r}, (1, 1), mesh_dim_names=('x', 'y'))"
        return f"{created}._flatten()._get_root_mesh()"


class LeafArgument(ArgumentType):
    """A tensor that requires a gradient. Elsewhere than in a recipe that depends on it, nothing records whether one does."""

    tag = "leaf"

    def matches(self, kind: type) -> bool:
        return False

    def encode(self, value: torch.Tensor, encoder: Encoder) -> Any:
        return self.tag, encoder.value(value)

    def as_json(self, data: Any) -> Any:
        return {self.tag: as_json(data)}

    def decode(self, data: Any, decoder: Decoder) -> torch.Tensor:
        tensor: torch.Tensor = decoder.value(data)
        return tensor.detach().requires_grad_()

    def print(self, data: Any, printer: Printer) -> str:
        return f"{printer.value(data)}.detach().requires_grad_()"

    def children(self, data: Any) -> Iterable[Any]:
        return [data]


class BuiltArgument(ArgumentType):
    """An object of TorchScript, or an opaque tensor, as its construction recipe."""

    tag = "made"

    def matches(self, kind: type) -> bool:
        return issubclass(kind, torch.ScriptObject)

    def encode(self, value: torch.ScriptObject | torch.Tensor, encoder: Encoder) -> Any:
        overload, args, kwargs = recipe_of(value)
        first = tuple(LEAF.encode(arg, encoder) for arg in args[:1] if overload in WITH_WORKSPACE)
        named = tuple((name, encoder.value(kwargs[name])) for name in sorted(kwargs))
        return self.tag, (overload, (*first, *map(encoder.value, args[len(first) :])), named)

    def as_json(self, data: tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]) -> Any:
        overload, args, kwargs = data
        named = {name: as_json(value) for name, value in kwargs}
        return {self.tag: {"overload": overload, "args": list(map(as_json, args)), "kwargs": named}}

    def decode(self, data: dict[str, Any], decoder: Decoder) -> Any:
        args = list(map(decoder.value, data["args"]))
        kwargs = {name: decoder.value(value) for name, value in data["kwargs"].items()}
        with torch.enable_grad():
            result = resolve(data["overload"])(*args, **kwargs)
        result = result.detach() if isinstance(result, torch.Tensor) and result.requires_grad else result
        remember(result, data["overload"], tuple(args), kwargs)
        return result

    def print(self, data: dict[str, Any], printer: Printer) -> str:
        arguments = [*map(printer.value, data["args"])]
        arguments += [f"{name}={printer.value(value)}" for name, value in data["kwargs"].items()]
        return f"torch.ops.{data['overload']}({', '.join(arguments)})"

    def children(self, data: dict[str, Any]) -> Iterable[Any]:
        return [*data["args"], *data["kwargs"].values()]


class Refused(ArgumentType):
    """A type without a plain form whose refusal needs words of its own.

    Args:
        kinds: the classes; subclasses count.
        reason: why it is refused; ``{}`` stands for the name of the class.
    """

    tag = ""

    def __init__(self, kinds: tuple[type, ...], reason: str) -> None:
        self._kinds, self._reason = kinds, reason

    def matches(self, kind: type) -> bool:
        return issubclass(kind, self._kinds)

    def encode(self, value: Any, encoder: Encoder) -> Any:
        raise Unrecordable(self._reason.format(type(value).__name__))


# --- the table -----------------------------------------------------------------------------------------------------------

_Encode = Callable[[Any, Encoder], Any]


class Table(dict[type, _Encode | None]):
    """The argument types, and a dictionary of how to encode values by their exact class.

    The dictionary fills itself from the entries. ``None`` says that a value is its own encoded form.

    Args:
        entries: the argument types; the first one that matches a class is taken.
    """

    def __init__(self, *entries: ArgumentType) -> None:
        super().__init__()
        self.entries = list(entries)
        self.by_tag = {entry.tag: entry for entry in entries}

    def register(self, entry: ArgumentType) -> None:
        """Add an argument type, which takes precedence over those that are there."""
        self.entries.insert(0, entry)
        self.by_tag[entry.tag] = entry
        self.clear()

    def unregister(self, entry: ArgumentType) -> None:
        """Remove an argument type."""
        self.entries.remove(entry)
        del self.by_tag[entry.tag]
        self.clear()

    def __missing__(self, kind: type) -> _Encode | None:
        entries = [entry for entry in self.entries if entry.matches(kind)]
        encode: _Encode | None
        if kind in (int, str, type(None)):
            encode = None
        elif not entries:
            encode = Refused((kind,), "argument of type {}").encode
        elif len(entries) == 1:
            encode = entries[0].encode
        else:

            def encode(value: Any, encoder: Encoder) -> Any:
                return next(entry for entry in entries if entry.accepts(value)).encode(value, encoder)

        self[kind] = encode
        return encode

    def entry_of(self, data: Any) -> tuple[ArgumentType, Any]:
        """The argument type of a JSON form, and the data in that."""
        if type(data) is dict:
            [(tag, inner)] = data.items()
            return self.by_tag[tag], inner
        return _IN_JSON[type(data)], data


BUILT, LEAF = BuiltArgument(), LeafArgument()
_NONE, _STRING = NativeArgument(type(None)), NativeArgument(str)
_BOOL, _INT, _LIST = BoolArgument(bool), IntArgument(int), ListArgument()
_IN_JSON: dict[type, ArgumentType] = {type(None): _NONE, bool: _BOOL, str: _STRING, int: _INT, list: _LIST}

#: Every argument type that can be recorded.
TABLE = Table(
    TensorArgument(),
    _INT,
    _NONE,
    _LIST,
    _BOOL,
    FloatArgument(),
    _STRING,
    DtypeArgument(torch.dtype),
    DeviceArgument(),
    ConstantArgument(torch.layout),
    ConstantArgument(torch.memory_format),
    ComplexArgument(),
    TupleArgument(),
    GeneratorArgument(),
    StorageArgument(),
    ProcessGroupArgument("process_group", process_group.boxed, "torch.distributed.group.WORLD.boxed()"),
    ProcessGroupArgument("reduce_op", process_group.reduce_op, "torch.classes.c10d.ReduceOp()"),
    DeviceMeshArgument(),
    BUILT,
    LEAF,
    Refused((torch.Tensor,), "tensor subclass {}"),
    Refused((torch.SymInt, torch.SymFloat, torch.SymBool), "symbolic number"),
)


def as_json(encoded: Any) -> Any:
    """The JSON form of an encoded value.

    >>> as_json(("list", (1, ("bool", True), ("complex", ("1.0", "2.0")))))
    [1, True, {'complex': ['1.0', '2.0']}]
    """
    if type(encoded) is not tuple:
        return encoded
    tag, data = encoded
    return TABLE.by_tag[tag].as_json(data)


def tensor_positions(data: Any) -> Iterator[int]:
    """The positions of the tensors in a JSON form, one for each reference.

    >>> list(tensor_positions([{"tensor": 0}, {"tuple": [{"tensor": 1}, 3]}, {"tensor": 0}]))
    [0, 1, 0]
    """
    entry, inner = TABLE.entry_of(data)
    if isinstance(entry, TensorArgument):
        yield inner
    for child in entry.children(inner):
        yield from tensor_positions(child)


def features_of(data: Any, place: Place, call: Call) -> Iterator[tuple[Any, ...]]:
    """What distinguishes one argument in kind, from its JSON form."""
    entry, inner = TABLE.entry_of(data)
    return entry.features(inner, place, call)


def features(call: Call) -> frozenset[tuple[Any, ...]]:
    """What distinguishes a call in kind, argument by argument.

    For each argument: rank, dtype and layout of a tensor; of anything else whether it is passed, its type, and its value if that
    is an option (bool, string, dtype) rather than a quantity.
    """
    places: list[tuple[Place, Any]] = [*enumerate(call.args), *call.kwargs.items()]
    return frozenset(feature for place, data in places for feature in features_of(data, place, call))


def number(value: complex) -> str:
    """A float or complex number as Python, without names for what is not finite.

    >>> number(1.5), number(float("inf")), number(complex(1, float("nan")))
    ('1.5', "float('inf')", "complex(1.0, float('nan'))")
    """
    if isinstance(value, complex):
        return f"complex({number(value.real)}, {number(value.imag)})"
    return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
