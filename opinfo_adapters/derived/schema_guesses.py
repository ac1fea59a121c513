"""Guessed calls of overloads of which only the schema is known: a bounded number of guesses, refined by what refuses them.

A guess is a profile: one shape and one dtype for all tensors, and every other argument by its type and name. The message of a
refusal often says what the operator expects ("expected 3D", "scalar type Long"), and the guess is repeated with that. A guess
that the kernel accepts counts only if the operator's own fake path does not refuse it: a kernel that does not check its arguments
reads garbage, and a finding about garbage is none. Attempting the calls lives in ``sweep.recording.attempts``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, UnsupportedOperatorException

from opinfo_adapters.derived.arguments import OMITTED, type_of, unbound
from sweep.errors import first_line
from sweep.operators.inventory import resolve
from sweep.recording.attempts import Attempts
from sweep.recording.recorded import RecordedCalls

#: Largest number of guesses that are made of an overload.
TRIED = 120

#: Number of accepted guesses after which no other is made.
KEPT = 6

#: Number of times that one guess is made, refinements included.
_REFINED = 4


@dataclass(frozen=True)
class Profile:
    """What a guess passes for every argument.

    Attributes:
        shape: shape of tensors.
        dtype: dtype of tensors.
        number: value of integers.
        passes_optional: whether optional arguments are passed.
        refined: name of an argument -> its shape and dtype where a refusal has named them, else ``None``.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    number: int = 1
    passes_optional: bool = False
    refined: dict[str, tuple[tuple[int, ...] | None, torch.dtype | None]] = field(default_factory=dict)


_SHAPES: tuple[tuple[int, ...], ...] = ((3, 3), (4,), (2, 3, 4), (1, 2, 4, 4), (1, 2, 4, 4, 4), (), (0, 3))
_DTYPES = (torch.float32, torch.int64, torch.bool, torch.complex64, torch.float64, torch.int32, torch.uint8, torch.bfloat16)


def tasks(recorded: RecordedCalls) -> Iterable[str]:
    """Every overload that is not called."""
    return [name for name in recorded.callable_overloads() if not recorded.is_called(name)]


def run(task: str, recorded: RecordedCalls, attempts: Attempts) -> None:
    """Guess calls of one overload until enough are accepted or the limit is reached."""
    op = resolve(task)
    tried = 0
    for profile in _profiles(op):
        guess = profile
        for _ in range(_REFINED):
            if tried >= TRIED or len(attempts.kept) >= KEPT:
                return
            tried += 1
            arguments = _arguments(op, guess, recorded.device)
            if arguments is None:
                return
            unexpected = _refused_by_fake(op, *arguments)
            refused = attempts.refuse(unexpected) if unexpected else attempts(*arguments, "schema_guesses", guessed=True)
            if refused is None:
                break
            refined = _refined(op, guess, refused)
            if refined == guess:
                break
            guess = refined


def _profiles(op: torch._ops.OpOverload) -> Iterator[Profile]:
    """The profiles of guesses, the most ordinary first."""
    optional = any(a.type.kind() == "OptionalType" for a in op._schema.arguments)
    tensors = any("Tensor" in type_of(a) for a in op._schema.arguments)
    for number, passes_optional in itertools.product((1, 0, 2), (False, True) if optional else (False,)):
        for dtype, shape in itertools.product(_DTYPES if tensors else _DTYPES[:1], _SHAPES if tensors else _SHAPES[:1]):
            yield Profile(shape, dtype, number, passes_optional)


def _arguments(op: torch._ops.OpOverload, profile: Profile, device: str) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments of a guess; ``None`` if there is a type in the schema that cannot be guessed."""
    values = {}
    for argument in op._schema.arguments:
        if argument.has_default_value() and not (profile.passes_optional and type_of(argument).startswith("Optional[")):
            continue
        value = _value(argument.name, type_of(argument), profile, device, argument.N)
        if value is not OMITTED:
            values[argument.name] = value
        elif not argument.has_default_value():
            return None
    return unbound(op, values)


def guesses_for(argument: torch._C.Argument, like: torch.Tensor | None) -> Iterator[Any]:
    """Guesses for one argument of a call whose other arguments are known.

    Args:
        argument: the argument.
        like: a tensor among the others, whose shape, dtype and device tensors take.
    """
    strided = like is not None and like.layout is torch.strided and not like.is_nested
    shape, dtype = (tuple(like.shape), like.dtype) if like is not None and strided else ((3, 3), torch.float32)
    device = "cpu" if like is None else str(like.device)
    for number, passes_optional in itertools.product((1, 0, 2), (False, True)):
        profile = Profile(shape, dtype, number, passes_optional)
        value = _value(argument.name, type_of(argument), profile, device, argument.N)
        if value is not OMITTED:
            yield value


#: Names of arguments that are indices or masks.
_INDICES = re.compile(r"ind(ex|ices)|idx|offsets?$|lengths?$|target|batch_sizes")
_MASKS = re.compile(r"mask|condition|^cond$")
#: Names of integers with a value of their own, also in lists.
_NUMBERS = {
    "stride": 1,
    "strides": 1,
    "dilation": 1,
    "padding": 0,
    "pad": 0,
    "output_padding": 0,
    "storage_offset": 0,
    "offset": 0,
}
#: Values of strings.
_TEXTS = ("none", "mean", "sum", "constant", "ij", "floor", "linear", "reflect", "V", "x")


def _value(name: str, wanted: str, profile: Profile, device: str, length: int | None) -> Any:
    """One argument of a guess; ``OMITTED`` if its type cannot be guessed."""
    if wanted.startswith("Optional["):
        return _value(name, wanted[9:-1], profile, device, length) if profile.passes_optional else None
    if wanted.startswith("List["):
        return _list(name, wanted[5:-1], profile, device, length)
    if wanted == "Tensor":
        return _tensor(name, profile, device)
    if wanted == "Storage":
        return torch.zeros(64, dtype=torch.uint8, device=device).untyped_storage()
    if wanted == "Generator":
        return torch.Generator(device)
    if wanted == "str":
        return _TEXTS[profile.number % len(_TEXTS)]
    simple = {
        "int": _NUMBERS.get(name, 0 if name.startswith("dim") and profile.number == 1 else profile.number),
        "float": 0.5,
        "number": profile.number,
        "bool": profile.number == 1,
        "ScalarType": profile.dtype,
        "Layout": torch.strided,
        "MemoryFormat": torch.contiguous_format,
        "Device": torch.device(device),
        "QScheme": torch.per_tensor_affine,
    }
    return simple.get(wanted.replace("SymInt", "int"), OMITTED)


def _list(name: str, wanted: str, profile: Profile, device: str, length: int | None) -> Any:
    spatial = max(len(profile.shape) - 2, 1)
    if wanted in ("int", "SymInt"):
        if name in ("size", "sizes", "shape", "input_size", "self_size", "input_sizes"):
            return list(profile.shape)
        if name.startswith("dim"):
            return [0]
        return [_NUMBERS.get(name, 2 if "size" in name else profile.number)] * (length or spatial)
    item = _value(name, wanted, profile, device, None)
    return OMITTED if item is OMITTED else [item] * (length or (3 if wanted == "bool" else 2))


def _tensor(name: str, profile: Profile, device: str) -> torch.Tensor:
    shape, dtype = profile.refined.get(name, (None, None))
    if dtype is None:
        dtype = torch.int64 if _INDICES.search(name) else torch.bool if _MASKS.search(name) else profile.dtype
    shape = profile.shape if shape is None else shape
    count = 1
    for size in shape:
        count *= size
    if dtype in (torch.int64, torch.int32):
        return torch.zeros(shape, dtype=dtype, device=device)  # index 0 is valid in every dimension
    return (torch.arange(count, device=device).reshape(shape) % 5 + 1).to(dtype)


def _refused_by_fake(op: torch._ops.OpOverload, args: list[Any], kwargs: dict[str, Any]) -> BaseException | None:
    """The error of the operator's own checks of sizes and dtypes, as far as it has any for tensors without data."""
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    try:
        fake_args, fake_kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, mode.from_tensor, (args, kwargs))
        with mode:
            op(*fake_args, **fake_kwargs)
    except (NotImplementedError, UnsupportedOperatorException, AssertionError):
        return None  # it has none; the sweep will report that
    except Exception as error:
        return None if _is_about_data(error) else error
    return None


def _is_about_data(error: Exception) -> bool:
    """Whether a fake path raised because it has no values, and not because of its arguments."""
    return type(error).__module__.startswith("torch._subclasses") or "DataDependent" in type(error).__name__


#: How messages name an argument and the dtype that it must have, any dtype, and a rank.
_NAMED_DTYPE = re.compile(r"'(\w+)'.*?(?:scalar types?|type|dtype)[:s]*\s*(?:torch\.)?(\w+)", re.IGNORECASE)
_ANY_DTYPE = re.compile(
    r"(?:expected|must be|should be|to be|only supports?)\D*?(?:torch\.|scalar type )?"
    r"\b(Long|Int|Bool|Float|Double|Byte|Char|ComplexFloat|Half|BFloat16|int64|int32|float32|float64|uint8|int8)\b",
    re.IGNORECASE,
)
_RANK = re.compile(r"(\d)[ -]?(?:D\b|d\b|dim)|(?:dim\w*|rank) (?:of |to be |be |== ?|is )?(\d)")
_WORDS = {
    "long": torch.int64,
    "int64": torch.int64,
    "int": torch.int32,
    "int32": torch.int32,
    "bool": torch.bool,
    "float": torch.float32,
    "float32": torch.float32,
    "double": torch.float64,
    "float64": torch.float64,
    "byte": torch.uint8,
    "uint8": torch.uint8,
    "char": torch.int8,
    "int8": torch.int8,
    "complexfloat": torch.complex64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
}
#: Rank -> the shape that is guessed.
_OF_RANK = {len(s): s for s in _SHAPES[:6]}


def _refined(op: torch._ops.OpOverload, guess: Profile, refused: BaseException) -> Profile:
    """The guess with the dtype or rank that a refusal asks for: of the argument that it names, or of all tensors."""
    text = first_line(refused)
    names = [a.name for a in op._schema.arguments if re.search(rf"\b{a.name}\b", text)]
    dtype = rank = None
    named = _NAMED_DTYPE.search(text)
    if named and named[2].lower() in _WORDS:
        names, dtype = [named[1]], _WORDS[named[2].lower()]
    elif match := _ANY_DTYPE.search(text):
        dtype = _WORDS.get(match[1].lower())
    elif match := _RANK.search(text):
        rank = _OF_RANK.get(int(match[1] or match[2]))
    if dtype is None and rank is None:
        return guess
    if not names:
        return replace(guess, dtype=dtype or guess.dtype, shape=guess.shape if rank is None else rank)
    old_shape, old_dtype = guess.refined.get(names[0], (None, None))
    refined = {**guess.refined, names[0]: (old_shape if rank is None else rank, dtype or old_dtype)}
    return replace(guess, refined=refined)
