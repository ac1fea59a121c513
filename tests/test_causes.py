"""``python -m sweep causes``: which function answers for a finding, what findings have in common, and the file of causes."""

from __future__ import annotations

import ast
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweep import expect
from sweep.causes import causes_file, native_functions
from sweep.causes.answer import Answer, Function, Question, Role
from sweep.causes.cause import Causes, grouped, together
from sweep.causes.work import answer
from sweep.errors import CausesError
from sweep.expect.expect_file import ExpectFile
from sweep.findings.kind_class import KindClass
from sweep.operators.inventory import qualified_name
from tests.planted import define, library
from tests.whole_runs import ROOT

CPU = ROOT / "results" / "2.13" / "cpu"
ONES = "torch.ones((2, 3), dtype=torch.float32)"


@pytest.fixture(autouse=True)
def fast_stacks(monkeypatch):
    """Names of C++ functions come from the dynamic linker, as in the command's own processes."""
    monkeypatch.setenv("TORCH_SYMBOLIZE_MODE", "dladdr")


def asked(name, crossref, what, example, form=""):
    """The answer about one finding of an overload."""
    title = f"{crossref}[{form}]: {what}" if form else f"{crossref}: {what}"
    [found] = answer(name, [Question(title, crossref, form, what, example)], "cpu")
    return found


# --- planted faults ----------------------------------------------------------------------------------------------------


def transposing_meta(x):
    return x.new_empty_strided(x.shape, (1, x.shape[0]))


@functools.cache
def transposing():
    """An operator whose meta function has the strides of a transposed tensor."""
    return define("causes_transposing", "(Tensor x) -> Tensor", lambda x: x.clone(), transposing_meta)


@functools.cache
def composite():
    """An operator that calls a right operator and then the wrong one."""
    library.define("causes_composite(Tensor x) -> Tensor")
    library.impl("causes_composite", lambda x: transposing()(x.neg()), "CompositeImplicitAutograd")
    return torch.ops.sweep_planted.causes_composite.default


def refusing_kernel(x):
    raise ValueError("planted")


def accepting_meta(x):
    return torch.empty_like(x)


def raising_meta(x):
    if x.dim():
        raise LookupError("planted")
    return torch.empty_like(x)


def test_a_wrong_meta_function_is_named():
    name = qualified_name(transposing()._name)
    found = asked(name, "fake", "output 0 strides[0]", f"torch.ops.{name}({ONES})")
    line = transposing_meta.__code__.co_firstlineno
    assert (found.function.name, found.function.line, found.function.role) == ("transposing_meta", line, Role.PYTHON)
    assert found.inside == ""


@pytest.mark.parametrize("crossref", ["fake", "functionalize"])
def test_of_a_composite_operator_the_first_wrong_one_inside_is_named(crossref):
    name, inner = qualified_name(composite()._name), qualified_name(transposing()._name)
    what = f"inside {inner} output 0 strides[0]" if crossref == "functionalize" else "output 0 strides[0]"
    found = asked(name, crossref, what, f"torch.ops.{name}({ONES})")
    assert (found.function.name, found.inside) == ("transposing_meta", inner)


def test_a_meta_function_that_raises_is_named():
    op = define("causes_raising", "(Tensor x) -> Tensor", lambda x: x.clone(), raising_meta)
    name = qualified_name(op._name)
    found = asked(name, "fake", "fake raises LookupError", f"torch.ops.{name}({ONES})")
    assert found.function.name == "raising_meta"


def test_a_meta_function_that_accepts_what_the_kernel_refuses_is_named():
    op = define("causes_accepting", "(Tensor x) -> Tensor", refusing_kernel, accepting_meta)
    name = qualified_name(op._name)
    found = asked(name, "validation", "accepts what raises ValueError", f"torch.ops.{name}({ONES})", "fake")
    assert found.function.name == "accepting_meta"


def test_what_an_example_does_not_show_has_no_cause():
    found = asked("aten.abs.default", "fake", "output 0 strides[0]", f"torch.ops.aten.abs.default({ONES})")
    assert (found.function, found.unknown) == (None, "its example does not show it")


# --- torch's own -------------------------------------------------------------------------------------------------------


def of_torch(name, title):
    """The answer about a checked-in finding."""
    file = expect.load(CPU)[name.partition(".")[0]]
    finding = next(finding for finding in file.known(name).findings if finding.title == title)
    return asked(name, finding.crossref, finding.what, finding.example, finding.form)


@pytest.mark.parametrize(
    ("name", "title", "role", "function"),
    [
        ("aten.max_unpool2d.default", "fake: output 0 strides[1]", Role.PYTHON, "max_unpool2d"),
        ("aten.max_unpool2d.default", "decomposition: output 0 strides[1]", Role.PYTHON, "max_unpool2d"),
        ("aten.special_i1.out", "fake: output 0 strides[0]", Role.PYTHON, "out_wrapper"),
        ("aten._masked_softmax_backward.out", "fake: output 0 rank", Role.GENERATED, "gen_composite_out_kernel"),
        ("aten.glu_backward.default", "unbacked: unbacked raises GuardOnDataDependentSymNode", Role.PYTHON, "glu_backward"),
        ("aten.add.Tensor", "equivalence[positions]: output 0 value", Role.KERNEL, "aten.add.Tensor"),
        ("aten.bincount.default", "fake: output 0 dtype", Role.PYTHON, "bincount"),
        (
            "aten._amp_update_scale_.default",
            "validation[fake]: accepts what raises RuntimeError",
            Role.GENERATED,
            "RegisterDispatchKey.gen_unstructured",
        ),
        (
            "aten._fused_adam.out",
            "schema: argument grads declared write, never written",
            Role.GENERATED,
            "gen_composite_out_kernel",
        ),
        ("aten.dropout.default", "schema: output 0 undeclared alias", Role.TAG, "maybe_aliasing_or_mutating"),
        ("c10d.allreduce_.default", "schema: output 0 undeclared alias", Role.REGISTERED, "schemas of c10d CPU kernels"),
    ],
)
def test_functions_of_torch(name, title, role, function):
    found = of_torch(name, title)
    assert found.unknown == ""
    assert (found.function.role, found.function.name) == (role, function)


@pytest.mark.parametrize(
    ("name", "title", "function"),
    [
        ("aten._log_softmax.out", "equivalence[out=]: output 0 value", "at::native::structured_log_softmax_cpu_out::impl"),
        ("aten.unfold_backward.default", "bounds: reads past argument 0", "at::native::unfold_backward"),
        ("aten.unfold_backward.out", "bounds: reads past argument 0", "at::native::unfold_backward"),
        ("aten.atleast_2d.Sequence", "schema: output 0 undeclared alias", "at::native::atleast_2d"),
        ("aten.kron.default", "unbacked: unbacked raises GuardOnDataDependentSymNode", "at::native::kron"),
        # What eager writes to an out tensor that is not contiguous is wrong, and the decomposition is right.
        ("aten._softmax.out", "decomposition: output 0 value", "at::native::structured_softmax_cpu_out::impl"),
        # Its arguments have the dispatch key of dense tensors, and it is for sparse ones.
        (
            "aten._sparse_coo_tensor_with_dims_and_tensors.default",
            "schema: output 0 undeclared alias",
            "at::native::new_with_dims_and_tensor_sparse_symint",
        ),
    ],
)
def test_functions_of_torch_in_cpp(name, title, function):
    found = of_torch(name, title)
    assert found.unknown == ""
    assert (found.function.role, found.function.name) == (Role.CPP, function)


def test_what_raises_with_symbolic_sizes_in_a_structured_kernel_is_what_calls_it_and_the_kernel_is_named():
    found = of_torch("aten.argmax.out", "unbacked: unbacked raises GuardOnDataDependentSymNode")
    assert (found.function.role, found.function.name) == (Role.GENERATED, "StructuredRegisterDispatchKey")
    assert found.inside == "at::meta::structured_argmax::meta"


YAML = """\
- func: f(Tensor self) -> Tensor
  structured_delegate: f.out
  dispatch:
    SparseCPU, SparseCUDA: f_sparse  # a comment

- func: f.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)
  structured: True
  dispatch:
    CPU, CUDA: f_out

- func: g.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)

- func: h_(Tensor(a!) self) -> Tensor(a!)
  dispatch:
    CPU: h_cpu_
  autogen: h, h.out
"""


def test_entries_of_native_functions():
    natives = native_functions.parse(YAML)
    assert (natives["f"].delegate, natives["f"].kernels) == ("f.out", {"SparseCPU": "f_sparse", "SparseCUDA": "f_sparse"})
    assert natives["f.out"].delegate == "f.out"
    assert natives["g.out"].kernel("CompositeImplicitAutograd") == "g_out", "the default of torchgen"
    assert natives["h.out"] is natives["h"] is natives["h_"]
    assert sorted(natives) == ["f", "f.out", "g.out", "h", "h.out", "h_"]


def test_an_operator_inside_a_functionalized_one_is_named():
    found = of_torch("aten.dropout.default", "functionalize: inside aten.native_dropout.default output 1 dtype")
    assert (found.function.name, found.inside) == ("native_dropout", "aten.native_dropout.default")


# --- groups and the file -----------------------------------------------------------------------------------------------

META = Function("torch/_meta_registrations.py", 7, "meta_mm", Role.PYTHON)
OTHER = Function("", 0, "at::native::resize_output", Role.CPP)


def some_causes():
    return grouped(
        {
            "aten.mm.out": [
                Answer("fake: output 0 strides[0]", META),
                Answer("fake: fake raises ValueError", META),
            ],
            "aten.mm.default": [
                Answer("fake: output 0 strides[0]", META),
                Answer("functionalize: output 0 strides[0]", META),
            ],
            "aten.chain.default": [Answer("fake: output 0 strides[0]", META, "aten.mm.default")],
            "aten.range.out": [
                Answer("symbolic: symbolic raises RuntimeError", OTHER),
                Answer("fake: output 0 rank", None, unknown="its example does not show it"),
            ],
        }
    )


def test_findings_of_the_same_function_have_one_cause_with_their_kinds():
    [largest, *others] = some_causes().by_size()
    assert (largest.function, len(largest.findings), largest.count) == (META, 3, 5)
    assert largest.kinds == {KindClass.STRIDES: 3, KindClass.RAISES: 1}
    assert largest.kinds_text == "strides 3, raises 1"
    assert largest.example == "aten.mm.default", "an overload that the function answers for itself"
    assert [(cause.function, cause.kinds_text) for cause in others] == [(OTHER, "raises")]


def test_a_cause_as_text():
    causes = some_causes()
    assert causes.text_of("aten.mm.out", "fake: output 0 strides[0]") == str(META)
    assert causes.text_of("aten.chain.default", "fake: output 0 strides[0]") == f"{META}, inside aten.mm.default"
    assert causes.text_of("aten.range.out", "fake: output 0 rank") == "unknown: its example does not show it"
    assert causes.text_of("aten.abs.out", "fake: output 0 rank") == ""


def test_a_file_says_what_was_saved(tmp_path):
    causes = some_causes()
    causes_file.save(tmp_path, causes)
    assert causes_file.load(tmp_path) == causes
    assert causes_file.load(tmp_path / "none") == Causes()


def test_an_update_of_some_overloads_keeps_the_others():
    causes = some_causes()
    parts = [causes.within(["aten.mm.out", "aten.range.out"]), causes.within(["aten.mm.default", "aten.chain.default"])]
    assert together(parts) == causes


def test_causes_of_findings_that_are_gone_are_dropped():
    left = some_causes().of_titles({"aten.mm.out": {"fake: fake raises ValueError"}, "aten.range.out": {"fake: output 0 rank"}})
    assert [dict(cause.findings) for cause in left.known] == [{"aten.mm.out": {"fake: fake raises ValueError": ""}}]
    assert left.unknown == {"aten.range.out": {"fake: output 0 rank": "its example does not show it"}}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / causes_file.NAME).write_text('{"causes": [{"place": "a.py"}], "unknown": {}}')
    with pytest.raises(CausesError, match=r"causes\.json: .*causes --update"):
        causes_file.load(tmp_path)


def test_findings_that_are_newer_than_the_causes_are_missing():
    section = "fake: output 0 rank: 1 of 1 call\n  torch.ops.aten.mm.out()\nfake: output 0 strides[0]: 1 of 1 call\n  x()\n"
    files = {"aten": ExpectFile(sections={"aten.mm.out": section})}
    assert causes_file.missing(some_causes(), files) == {"aten.mm.out": {"fake: output 0 rank"}}


# --- what is checked in ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked_in():
    return causes_file.load(CPU), expect.load(CPU)


def test_the_causes_are_those_of_the_expect_files(checked_in):
    causes, files = checked_in
    assert causes_file.missing(causes, files) == {}
    assert causes.of_titles(causes_file.titles_of(files)) == causes, "it has causes of findings that are gone"


def test_nine_findings_of_ten_have_a_cause(checked_in):
    causes, _ = checked_in
    known = sum(cause.count for cause in causes.known)
    assert known > 0.9 * (known + sum(map(len, causes.unknown.values())))


def test_there_are_fewer_than_half_as_many_causes_as_overloads(checked_in):
    causes, _ = checked_in
    overloads = {overload for cause in causes.known for overload in cause.findings}
    assert len(causes.known) < len(overloads) / 2.3


#: The functions of Python's syntax, and what Python calls those without a name.
NAMES = {ast.FunctionDef: "", ast.Lambda: "<lambda>", ast.GeneratorExp: "<genexpr>", ast.ListComp: "<listcomp>"}


@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason="the causes are those of torch 2.13")
def test_the_python_functions_that_are_named_exist(checked_in):
    causes, _ = checked_in
    site = Path(torch.__file__).parent.parent
    named = {(c.function.place, c.function.line, c.function.name) for c in causes.known if c.function.role is Role.PYTHON}
    for place in {place for place, _, _ in named}:
        nodes = [node for node in ast.walk(ast.parse((site / place).read_text())) if isinstance(node, tuple(NAMES))]
        lines = [min(node.lineno, *(d.lineno for d in (*getattr(node, "decorator_list", []), node))) for node in nodes]
        defined = {(line, getattr(node, "name", NAMES[type(node)])) for line, node in zip(lines, nodes, strict=True)}
        assert {(line, name.rpartition(".")[2]) for p, line, name in named if p == place} <= defined, place


# --- the command -------------------------------------------------------------------------------------------------------


def run(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "sweep", "causes", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_list_is_made_without_torch():
    done = run("--limit", "3")
    assert done.returncode == 0, done.stderr
    assert "out_wrapper" in done.stdout
    assert len(done.stdout.splitlines()) == 2 + 3 + 1
    assert " torch\n" not in done.stderr


def test_the_list_as_json():
    done = run("--json", "--ops", "aten.max_unpool2d.default")
    assert done.returncode == 0, done.stderr
    causes = json.loads(done.stdout)
    assert all(list(cause["findings"]) == ["aten.max_unpool2d.default"] for cause in causes)
    assert any("max_unpool2d" in cause["function"] for cause in causes)


@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason="the expect files are those of torch 2.13")
def test_an_update_goes_on_behind_a_call_that_ends_its_process(tmp_path):
    """Of an overload that crashes, the other findings have a cause too; the causes of other overloads stay."""
    shutil.copytree(CPU, tmp_path / "2.13" / "cpu")
    crashing, folder = "aten.avg_pool3d_backward.default", tmp_path / "2.13" / "cpu"
    titles = {finding.title for finding in expect.known(expect.load(folder), crashing).findings}
    assert "call: crash SIGSEGV" in titles, "the test needs an overload that crashes"
    before = causes_file.load(folder)
    causes_file.save(folder, before.within({*before.titles()} - {crashing}))
    done = run("--update", "--stale", f"--results={tmp_path}", f"--work-dir={tmp_path / 'work'}", "--workers=1")
    assert done.returncode == 0, done.stderr
    after = causes_file.load(folder)
    assert after.titles()[crashing] == titles
    assert after.text_of(crashing, "call: crash SIGSEGV").startswith("at::native::structured_avg_pool3d_backward_out_cpu::impl")
    assert after == before
