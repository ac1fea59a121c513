"""Calls of overloads that nothing is known of but their schema: bounded guesses, refined by what refuses them.

A guess is a profile, one shape and one dtype for all tensors, with every other argument by its type and name. When the operator
refuses, its message often says what it wants ("expected 3D", "scalar type Long"); the guess is made again with that. One that the
kernel accepts counts only if the operator's own fake path does not refuse it: a kernel that does not look at what it is given
reads garbage, and what a crossref says about garbage is no finding.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, UnsupportedOperatorException

from opinfo_adapters.derived import Known
from opinfo_adapters.derived.arguments import laid_out, type_of
from sweep.recording.attempts import Attempts
from sweep.operators.inventory import resolve

#: So many guesses of an overload are made at most, and so many kept.
TRIED, KEPT = 120, 6

#: How often one guess is refined before the next is tried.
_REFINED = 4


@dataclass(frozen=True)
class Profile:
    """What a guess gives to every argument.

    Attributes:
        shape: of every tensor that is not known better.
        dtype: of every tensor that is not known better.
        number: every integer that is not known better.
        given: optional arguments too.
        better: what an argument's name or a refusal says: name -> (shape or None, dtype or None).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    number: int = 1
    given: bool = False
    better: dict[str, tuple[tuple[int, ...] | None, torch.dtype | None]] = field(default_factory=dict)


_SHAPES: tuple[tuple[int, ...], ...] = ((3, 3), (4,), (2, 3, 4), (1, 2, 4, 4), (1, 2, 4, 4, 4), (), (0, 3))
_DTYPES = (torch.float32, torch.int64, torch.bool, torch.complex64, torch.float64, torch.int32, torch.uint8, torch.bfloat16)


def tasks(known: Known) -> Iterable[str]:
    """Every overload that is not called."""
    return [n for n in known.callable_overloads() if not known.is_called(n)]


def run(task: str, known: Known, attempt: Attempts) -> None:
    """Guesses until enough is accepted or the bound is reached."""
    op = resolve(task)
    tried = 0
    for profile in _profiles(op):
        guess = profile
        for _ in range(_REFINED):
            if tried >= TRIED or len(attempt.kept) >= KEPT:
                return
            tried += 1
            made = _call(op, guess, known.device)
            if made is None:
                return
            unasked = _refused_by_fake(op, *made)
            refused = attempt.refuse(unasked) if unasked else attempt(*made, "schemas")
            if refused is None:
                break
            refined = _refined(op, guess, refused)
            if refined == guess:
                break
            guess = refined


def _profiles(op: torch._ops.OpOverload) -> Iterator[Profile]:
    """Guesses, the most ordinary first."""
    optional = any(a.type.kind() == "OptionalType" for a in op._schema.arguments)
    tensors = any("Tensor" in type_of(a) for a in op._schema.arguments)
    for number, given in itertools.product((1, 0, 2), (False, True) if optional else (False,)):
        for dtype, shape in itertools.product(_DTYPES if tensors else _DTYPES[:1], _SHAPES if tensors else _SHAPES[:1]):
            yield Profile(shape, dtype, number, given)


def _call(op: torch._ops.OpOverload, profile: Profile, device: str) -> tuple[list[Any], dict[str, Any]] | None:
    """The guess as arguments, or ``None`` if the schema wants something that cannot be guessed."""
    values = {}
    for argument in op._schema.arguments:
        if argument.has_default_value() and not (profile.given and type_of(argument).startswith("Optional[")):
            continue
        found = _value(argument.name, type_of(argument), profile, device, argument.N)
        if found is _NOTHING:
            if argument.has_default_value():
                continue
            return None
        values[argument.name] = found
    return laid_out(op, values)


def guesses_for(argument: torch._C.Argument, like: torch.Tensor | None) -> Iterator[Any]:
    """Values for one argument of a call whose others are known.

    Args:
        argument: the argument.
        like: a tensor among the others.
    """
    strided = like is not None and like.layout is torch.strided and not like.is_nested
    shape, dtype = (tuple(like.shape), like.dtype) if like is not None and strided else ((3, 3), torch.float32)
    device = "cpu" if like is None else str(like.device)
    for number, given in itertools.product((1, 0, 2), (False, True)):
        found = _value(argument.name, type_of(argument), Profile(shape, dtype, number, given), device, argument.N)
        if found is not _NOTHING:
            yield found


_NOTHING = object()
_INDICES = re.compile(r"ind(ex|ices)|idx|offsets?$|lengths?$|target|batch_sizes")
_MASKS = re.compile(r"mask|condition|^cond$")
_LISTS = {"stride": 1, "strides": 1, "dilation": 1, "padding": 0, "pad": 0, "output_padding": 0, "storage_offset": 0, "offset": 0}
_TEXTS = ("none", "mean", "sum", "constant", "ij", "floor", "linear", "reflect", "V", "x")


def _value(name: str, wanted: str, profile: Profile, device: str, length: int | None) -> Any:
    """One argument of a guess; ``_NOTHING`` where there is none of that type."""
    if wanted.startswith("Optional["):
        return _value(name, wanted[9:-1], profile, device, length) if profile.given else None
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
        "int": _LISTS.get(name, 0 if name.startswith("dim") and profile.number == 1 else profile.number),
        "float": 0.5,
        "number": profile.number,
        "bool": profile.number == 1,
        "ScalarType": profile.dtype,
        "Layout": torch.strided,
        "MemoryFormat": torch.contiguous_format,
        "Device": torch.device(device),
        "QScheme": torch.per_tensor_affine,
    }
    return simple.get(wanted.replace("SymInt", "int"), _NOTHING)


def _list(name: str, wanted: str, profile: Profile, device: str, length: int | None) -> Any:
    spatial = max(len(profile.shape) - 2, 1)
    if wanted in ("int", "SymInt"):
        if name in ("size", "sizes", "shape", "input_size", "self_size", "input_sizes"):
            return list(profile.shape)
        if name.startswith("dim"):
            return [0]
        return [_LISTS.get(name, 2 if "size" in name else profile.number)] * (length or spatial)
    item = _value(name, wanted, profile, device, None)
    return _NOTHING if item is _NOTHING else [item] * (length or (3 if wanted == "bool" else 2))


def _tensor(name: str, profile: Profile, device: str) -> torch.Tensor:
    shape, dtype = profile.better.get(name, (None, None))
    if dtype is None:
        dtype = torch.int64 if _INDICES.search(name) else torch.bool if _MASKS.search(name) else profile.dtype
    shape = profile.shape if shape is None else shape
    count = 1
    for size in shape:
        count *= size
    if dtype in (torch.int64, torch.int32):
        return torch.zeros(shape, dtype=dtype, device=device)  # an index that every dimension has
    return (torch.arange(count, device=device).reshape(shape) % 5 + 1).to(dtype)


def _refused_by_fake(op: torch._ops.OpOverload, args: list[Any], kwargs: dict[str, Any]) -> BaseException | None:
    """What the operator's own checks of sizes and dtypes raise, where it has any for tensors without data."""
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    try:
        fake_args, fake_kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, mode.from_tensor, (args, kwargs))
        with mode:
            op(*fake_args, **fake_kwargs)
    except (NotImplementedError, UnsupportedOperatorException, AssertionError):
        return None  # it has none, which the sweep will say
    except Exception as error:
        return None if _is_about_data(error) else error
    return None


def _is_about_data(error: Exception) -> bool:
    """Whether a fake path raised because it lacks values, and not because of what it was given."""
    return type(error).__module__.startswith("torch._subclasses") or "DataDependent" in type(error).__name__


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
_OF_RANK = {len(s): s for s in _SHAPES[:6]}


def _refined(op: torch._ops.OpOverload, guess: Profile, refused: BaseException) -> Profile:
    """The guess with what a refusal asks for: a dtype or a rank, of the argument that it names or of all."""
    text = str(refused).splitlines()[0] if str(refused) else ""
    names = [a.name for a in op._schema.arguments if re.search(rf"\b{a.name}\b", text)]
    dtype = rank = None
    named = _NAMED_DTYPE.search(text)
    if named and named[2].lower() in _WORDS:
        names, dtype = [named[1]], _WORDS[named[2].lower()]
    elif found := _ANY_DTYPE.search(text):
        dtype = _WORDS.get(found[1].lower())
    elif found := _RANK.search(text):
        rank = _OF_RANK.get(int(found[1] or found[2]))
    if dtype is None and rank is None:
        return guess
    if not names:
        return replace(guess, dtype=dtype or guess.dtype, shape=guess.shape if rank is None else rank)
    known = guess.better.get(names[0], (None, None))
    better = {**guess.better, names[0]: (known[0] if rank is None else rank, dtype or known[1])}
    return replace(guess, better=better)
