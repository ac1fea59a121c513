"""Coarse classes of finding kinds, read from how a finding is phrased: for readers, and for what findings have in common."""

from __future__ import annotations

import enum
import re

from sweep.findings.ending import Ending, EndingKind
from sweep.findings.kind import Access, Difference, Kind, LostValidation, OutOfBoundsAccess, SchemaFault, StateChange


class KindClass(enum.Enum):
    """What a finding is about, without its place, side, index and exception class; the value is the name that people see."""

    OUTPUTS = "outputs"
    RANK = "rank"
    SIZE = "size"
    STRIDES = "strides"
    OFFSET = "offset"
    LAYOUT = "layout"
    DTYPE = "dtype"
    TYPE = "type or device"
    ALIASING = "aliasing"
    VALUE = "value"
    RAISES = "raises"
    INTERNAL_ASSERT = "internal assert"
    LOST_VALIDATION = "lost validation"
    SCHEMA = "schema"
    BOUNDS = "out of bounds"
    CRASH = "crash"
    TIMEOUT = "timeout"
    MEMORY = "out of memory"
    STATE = "changed state"
    UNSUPPORTED = "unsupported"
    OTHER = "other"

    def __str__(self) -> str:
        return self.value

    @property
    def broad(self) -> KindClass:
        """The class that stands for all that are wrong in the same way, as far as one function may be wrong in several.

        >>> KindClass.RANK.broad, KindClass.OFFSET.broad, KindClass.VALUE.broad
        (<KindClass.SIZE: 'size'>, <KindClass.STRIDES: 'strides'>, <KindClass.VALUE: 'value'>)
        """
        return _BROAD.get(self, self)


_BROAD = {
    KindClass.OUTPUTS: KindClass.SIZE,
    KindClass.RANK: KindClass.SIZE,
    KindClass.OFFSET: KindClass.STRIDES,
    KindClass.LAYOUT: KindClass.STRIDES,
    KindClass.ALIASING: KindClass.STRIDES,
    KindClass.TYPE: KindClass.DTYPE,
    KindClass.INTERNAL_ASSERT: KindClass.RAISES,
    KindClass.TIMEOUT: KindClass.CRASH,
    KindClass.MEMORY: KindClass.CRASH,
}

_OF_DIFFERENCES = {
    Difference.OUTPUTS: KindClass.OUTPUTS,
    Difference.CONTAINER: KindClass.OUTPUTS,
    Difference.RANK: KindClass.RANK,
    Difference.SIZE: KindClass.SIZE,
    Difference.STRIDES: KindClass.STRIDES,
    Difference.OFFSET: KindClass.OFFSET,
    Difference.LAYOUT: KindClass.LAYOUT,
    Difference.CONJ: KindClass.LAYOUT,
    Difference.NEG: KindClass.LAYOUT,
    Difference.DTYPE: KindClass.DTYPE,
    Difference.TYPE: KindClass.TYPE,
    Difference.DEVICE: KindClass.TYPE,
    Difference.ALIASING: KindClass.ALIASING,
    Difference.VALUE: KindClass.VALUE,
}

_OF_ENDINGS = {
    EndingKind.UNSUPPORTED: KindClass.UNSUPPORTED,
    EndingKind.INTERNAL_ASSERT: KindClass.INTERNAL_ASSERT,
    EndingKind.RAISED: KindClass.RAISES,
    EndingKind.CRASH: KindClass.CRASH,
    EndingKind.EXIT: KindClass.CRASH,
    EndingKind.HANGUP: KindClass.CRASH,
    EndingKind.OVERLOAD_TIMEOUT: KindClass.TIMEOUT,
    EndingKind.TIMEOUT: KindClass.TIMEOUT,
    EndingKind.OUT_OF_MEMORY: KindClass.MEMORY,
}


def _patterns() -> list[tuple[re.Pattern[str], KindClass]]:
    """How each kind is phrased, behind an optional place; the first that matches counts."""
    phrases: list[tuple[str, KindClass]] = [
        (re.escape(str(LostValidation(""))), KindClass.LOST_VALIDATION),
        (re.escape(str(StateChange(()))), KindClass.STATE),
        *((f"{access.value} ", KindClass.BOUNDS) for access in Access),
        *((f"{re.escape(fault.value)}$", KindClass.SCHEMA) for fault in SchemaFault),
        *((f"{re.escape(ending.value)}(?![^ ,])", kind) for ending, kind in _OF_ENDINGS.items()),
        *((rf"{re.escape(d.value)}(\[\d+\])?$", _OF_DIFFERENCES[d]) for d in Difference),
    ]
    return [(re.compile(f"(^| ){phrase}"), kind) for phrase, kind in phrases]


_PATTERNS = _patterns()


def kind_class(what: str) -> KindClass:
    """The class of a finding's kind; ``OTHER`` for a kind that this version does not know.

    Args:
        what: the kind as text, or place, kind and index as an expect file has them.

    >>> kind_class("inside aten.clone.default output 0 strides[1]"), kind_class("unsupported, fake raises RuntimeError")
    (<KindClass.STRIDES: 'strides'>, <KindClass.UNSUPPORTED: 'unsupported'>)
    >>> kind_class("writes past argument out"), kind_class("crash SIGSEGV"), kind_class("real raises TypeError")
    (<KindClass.BOUNDS: 'out of bounds'>, <KindClass.CRASH: 'crash'>, <KindClass.RAISES: 'raises'>)
    """
    return next((kind for pattern, kind in _PATTERNS if pattern.search(what)), KindClass.OTHER)


def broad_class(kind: Kind) -> KindClass:
    """The broad class of a kind, by which it is compared with others of the same call or of one inside it.

    >>> broad_class(Difference.OFFSET), broad_class(LostValidation("ValueError"))
    (<KindClass.STRIDES: 'strides'>, <KindClass.LOST_VALIDATION: 'lost validation'>)
    """
    match kind:
        case Difference():
            return _OF_DIFFERENCES[kind].broad
        case Ending():
            return _OF_ENDINGS[kind.kind].broad
        case LostValidation():
            return KindClass.LOST_VALIDATION
        case OutOfBoundsAccess():
            return KindClass.BOUNDS
        case SchemaFault():
            return KindClass.SCHEMA
        case StateChange():
            return KindClass.STATE
