"""Which parts a script consists of: for each crossref and form, the templates, their settings and what they import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweep.expect.known import KnownFinding
from sweep.findings.ending import EndingKind
from sweep.findings.finding import CALL
from sweep.findings.kind import Difference, SchemaFault


@dataclass(frozen=True)
class Recipe:
    """What a script consists of after its head.

    Attributes:
        templates: names of files in ``templates``, in order.
        settings: names that they use -> Python text; written before the first template.
        late: the same, for what can only be written behind the templates that define the values.
        imports: lines.
    """

    templates: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


class NoRecipe(Exception):
    """No script can be written for a finding; the message says why, to follow "no script can be written:"."""


_PYTREE = "from torch.utils._pytree import tree_map"
_FAKE = (
    "from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode",
    "from torch.fx.experimental.symbolic_shapes import ShapeEnv",
    _PYTREE,
)
_TABLES = (
    "import importlib",
    "from torch._decomp import core_aten_decompositions, global_decomposition_table",
)
_SYMBOLIC = (
    "from collections import Counter",
    "from torch._dispatch.python import enable_python_dispatcher",
    "from torch._dynamo.source import ConstantSource",
    "from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode",
    "from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext",
    "from torch.utils._pytree import tree_leaves, tree_map",
)
_FUNCTIONALIZE = (
    "from contextlib import ExitStack",
    "from unittest import mock",
    *_FAKE,
    "from torch._dispatch.python import enable_python_dispatcher, suspend_functionalization",
    "from torch.utils._python_dispatch import _disable_current_modes",
)
_INDUCTOR = "inductor"

#: Form of ``equivalence`` -> the functions of the two sides, and whether they do the same arithmetic in the same order.
_FORMS = {
    "twice": ("again", "real", True),
    "contiguous": ("contiguous", "real", False),
    "strided": ("strided", "real", False),
    "out=": ("functional", "writing", True),
    "in-place": ("functional", "writing", True),
}


def recipe_of(finding: KnownFinding) -> Recipe:
    """What the script of a finding consists of.

    Raises:
        NoRecipe: none can be written.
    """
    by_values = finding.what.endswith(f" {Difference.VALUE}")
    settings = {"COMPARES_VALUES": str(by_values), "COMPARES_EMPTY": "False", "TOLERANCE": "{}"}
    match finding.crossref:
        case "fake":
            name = finding.form or "fake"
            settings["COMPARES_EMPTY"] = str(name == "cache")
            return Recipe(("values", "outcomes", "fake_tensors", name), settings, imports=_FAKE)
        case "decomposition":
            settings["DECOMPOSITION"] = repr(finding.form)
            return Recipe(("values", "outcomes", "decompositions", "decomposition"), settings, imports=_TABLES)
        case "validation":
            return _validation(finding, settings)
        case "symbolic" | "unbacked":
            settings["SIZES"] = "DimDynamic.UNBACKED" if finding.crossref == "unbacked" else "DimDynamic.DUCK"
            return Recipe(("values", "outcomes", "symbolic"), settings, imports=_SYMBOLIC)
        case "functionalize":
            return Recipe(("values", "outcomes", "fake_tensors", "functionalize"), settings, imports=_FUNCTIONALIZE)
        case "schema":
            return _schema(finding)
        case "equivalence":
            return _equivalence(finding, settings)
        case "bounds":
            if finding.what.rpartition(" ")[0].endswith(" output"):  # whose memory is the allocator's: that of an out= tensor
                late = {"OP": "out_overload()", "arguments": "with_outs"}
                given = {"FUNCTIONAL": "OP", "given": "arguments"}
                return Recipe(("values", "results", "bounds"), given, late, (_PYTREE,))
            return Recipe(("values", "bounds"), imports=(_PYTREE,))
        case other:
            return _call(finding, settings) if other == CALL else _unknown(other)


def _unknown(crossref: str) -> Recipe:
    raise NoRecipe(f"there is no template for the crossref {crossref} yet")


def _schema(finding: KnownFinding) -> Recipe:
    fault = next((fault.value for fault in SchemaFault if finding.what.endswith(fault.value)), None)
    if fault is None:
        raise NoRecipe("it says nothing about the schema")
    return Recipe(("values", "schema"), {"FAULT": repr(fault)})


def _validation(finding: KnownFinding, settings: dict[str, str]) -> Recipe:
    if finding.form == "eager":
        return Recipe(("values", "outcomes", "eager"), settings)
    if finding.form == "fake":
        late = {"PREDICTED": "on_fake_tensors"}
        return Recipe(("values", "outcomes", "fake_tensors", "validation"), settings, late, _FAKE)
    settings["DECOMPOSITION"] = repr(_INDUCTOR if finding.form == _INDUCTOR else "")
    return Recipe(("values", "outcomes", "decompositions", "validation"), settings, {"PREDICTED": "decomposed"}, _TABLES)


def _equivalence(finding: KnownFinding, settings: dict[str, str]) -> Recipe:
    if finding.form == "positions":
        imports = ("import itertools", "from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten")
        return Recipe(("positions",), {}, {}, imports)
    if finding.form not in _FORMS:
        raise NoRecipe(f"there is no template for the form {finding.author} yet")
    predicted, actual, is_exact = _FORMS[finding.form]
    labels = tuple(label for label, _ in finding.sides) or (finding.form, "real")
    settings |= {"IS_EXACT": str(is_exact), "LABELS": repr(labels if len(labels) > 1 else (*labels, "real"))}
    return Recipe(("values", "outcomes", "equivalence"), settings, {"PREDICTED": predicted, "ACTUAL": actual}, (_PYTREE,))


def _call(finding: KnownFinding, settings: dict[str, str]) -> Recipe:
    if finding.what.startswith("changes "):
        raise NoRecipe("what the call changes is state of the process, which only the harness looks at")
    if finding.what == EndingKind.OVERLOAD_TIMEOUT.value:
        raise NoRecipe("all calls together take too long, not this one")
    return Recipe(("values", "outcomes", "call"), settings)
