"""``python -m sweep repro``: scripts with nothing but torch in them that show a finding, and exit with 0 where there is none."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from sweep import expect
from sweep.errors import ReproError
from sweep.expect.known import KnownFinding
from sweep.repro import script
from tests.whole_runs import ROOT

CPU = ROOT / "results" / "2.13" / "cpu"
HEAD = "torch 2.13.0 git 0, cpu, AVX2"

ABS = "torch.ops.aten.abs.default(torch.ones((2, 3), dtype=torch.float32))"
ABS_OUT = "torch.ops.aten.abs.out(torch.ones((2,), dtype=torch.float32), out=torch.zeros((2,), dtype=torch.float32))"
ABS_ = "torch.ops.aten.abs_.default(torch.tensor([-1.0, 2.0], dtype=torch.float32))"
REFUSED = "torch.ops.aten.mm.default(torch.ones((2, 3), dtype=torch.float32), torch.ones((2, 3), dtype=torch.float32))"
TRANSPOSED = (
    "torch.ops.aten.mm.default(torch.ones((2, 3), dtype=torch.float32), (s := torch.ones((6,))).as_strided((3, 2), (1, 3)))"
)
POOLED = (
    "torch.ops.aten.adaptive_max_pool2d_backward.default("
    "torch.ones((1, 1, 1)), torch.ones((1, 4, 4)), torch.tensor([[[{index}]]]))"
)


def finding(crossref, form="", what="output 0 strides[0]", example=ABS):
    sides = (("predicted", "float32 (2,)"), ("real", "float32 (2,)"))
    return KnownFinding(crossref, form, what, 1, 2, "float32", example, sides)


#: Author, form, finding and example of calls that agree: a script of any of them exits with 0.
AGREEING = [
    ("fake", "", "output 0 strides[0]", ABS),
    ("fake", "cache", "argument out size[0]", ABS_OUT),
    ("functionalize", "", "output 0 strides[0]", ABS),
    ("functionalize", "", "output 0 strides[0]", "torch.ops.aten.dropout.default(torch.ones((2, 3)), 0.5, True)"),
    (
        "decomposition",
        "",
        "output 0 value",
        "torch.ops.aten.addcmul.default(torch.ones(3), torch.ones(3), torch.ones(3), value=2)",
    ),
    ("symbolic", "", "output 0 strides[0]", TRANSPOSED),
    ("unbacked", "", "unbacked raises GuardOnDataDependentSymNode", ABS),
    ("schema", "", "argument out declared write, never written", ABS_OUT),
    ("schema", "", "output 0 undeclared alias", ABS),
    ("bounds", "", "writes past argument out", ABS_OUT),
    ("bounds", "", "reads past argument 0", ABS),
    ("bounds", "", "writes past output 0", POOLED.format(index=15)),
    ("validation", "fake", "accepts what raises RuntimeError", REFUSED),
    ("validation", "eager", "real fails an internal assert", REFUSED),
    ("equivalence", "twice", "output 0 value", ABS),
    ("equivalence", "contiguous", "output 0 value", TRANSPOSED),
    ("equivalence", "strided", "output 0 value", ABS),
    ("equivalence", "out=", "output 0 value", ABS_OUT),
    ("equivalence", "in-place", "output 0 value", ABS_),
    ("equivalence", "positions", "output 0 value", ABS),
    ("call", "", "real raises RuntimeError", ABS),
    ("fake", "", "output 0 type", "torch.ops.streams.sync_dealloc.default(1, 0, torch.ones(2))"),
    ("fake", "", "output 0 type", "torch.ops.aten.get_gradients.default(0)"),
]

#: Overload and title of checked-in findings: a script of any of them exits with 1.
KNOWN = [
    ("aten.max_unpool2d.default", "fake: output 0 strides[1]"),
    ("aten.max_unpool2d.default", "decomposition: output 0 strides[1]"),
    ("aten.dropout.default", "functionalize: inside aten.native_dropout.default output 1 dtype"),
    ("aten.glu_backward.default", "unbacked: unbacked raises GuardOnDataDependentSymNode"),
    ("aten.glu_backward.default", "validation[fake]: accepts what raises RuntimeError"),
    ("aten.glu_backward.default", "validation[decomposition]: accepts what raises RuntimeError"),
    ("aten.abs.out", "symbolic: symbolic raises RuntimeError"),
    ("aten.dropout.default", "schema: output 0 undeclared alias"),
    ("aten._log_softmax.out", "equivalence[out=]: output 0 value"),
    ("aten.upsample_bilinear2d.out", "bounds: writes past argument out"),
    ("aten._make_dual.default", "fake[cache]: cached raises AssertionError"),
    ("quantized.conv2d_add.default", "schema: output 0 undeclared alias"),
    ("device_mesh._runtime_compute_coordinate_on_dim.default", "fake: fake raises AttributeError"),
]

#: Runs scripts, each in a process of its own that has torch already, and prints a line with the exit status of each: 77 for one
#: that raises. They end without what Python does at its end, which takes seconds of a process that has torch.
RUNNER = """
import os, runpy, sys, traceback
import torch, torch._dynamo, torch._dynamo.source
torch.set_num_threads(1)
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.stdout = sys.stderr = open(path + ".out", "w")
        status = 99
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 77
        sys.stdout.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def overload_of(example):
    return example.partition("(")[0].removeprefix("torch.ops.")


def statuses(folder, texts):
    """The exit status and output of scripts."""
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.py")
        paths[-1].write_text(text)
    line = [sys.executable, "-I", "-c", RUNNER, *map(str, paths)]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [
        (int(status), path.with_suffix(".py.out").read_text()) for status, path in zip(done.stdout.split(), paths, strict=True)
    ]


def known(name):
    [file] = [file for file in expect.load(CPU).values() if name in file.overloads()]
    return file.known(name).findings


def test_scripts_of_calls_that_agree_exit_with_0(tmp_path):
    texts = [script.script_of(overload_of(example), finding(*case, example), HEAD) for *case, example in AGREEING]
    results = statuses(tmp_path, texts)
    assert [(case, out) for case, (status, out) in zip(AGREEING, results, strict=True) if status != 0] == []


def test_scripts_of_checked_in_findings_exit_with_1_and_print_both_sides(tmp_path):
    texts = [script.script_of(name, next(f for f in known(name) if f.title == title), HEAD) for name, title in KNOWN]
    results = statuses(tmp_path, texts)
    assert [(case, out) for case, (status, out) in zip(KNOWN, results, strict=True) if status != 1 or not out] == []
    assert "they differ in: output 0 strides" in results[0][1]


def test_a_script_of_a_write_outside_of_a_result_shows_it_with_an_out_tensor(tmp_path):
    written = {"past": 99, "before": -5}
    texts = []
    for edge, index in written.items():
        example = POOLED.format(index=index)
        texts.append(script.script_of(overload_of(example), finding("bounds", "", f"writes {edge} output 0", example), HEAD))
    results = statuses(tmp_path, texts)
    assert results == [(1, f"the call: writes {edge} argument grad_input\n") for edge in written]


def test_a_script_needs_nothing_but_torch_and_pins_instruction_sets_before_it():
    for *case, example in AGREEING:
        text = script.script_of(overload_of(example), finding(*case, example), HEAD)
        tree = ast.parse(text)
        modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert modules - set(sys.stdlib_module_names) == {"torch"}
        assert text.index("ATEN_CPU_CAPABILITY") < text.index("import torch")


def script_or_reason(overload, found):
    """The script of a finding, and why there is none; one of them is empty."""
    try:
        return script.script_of(overload, found, HEAD), ""
    except ReproError as error:
        return "", str(error)


def test_scripts_of_checked_in_findings_are_python_and_where_there_is_none_a_line_says_why():
    files = expect.load(CPU).values()
    pairs = [script_or_reason(name, found) for file in files for name in file.sections for found in file.known(name).findings]
    for text in [text for text, _ in pairs if text][::100]:  # parsing takes a while
        ast.parse(text)
    texts = {reason for _, reason in pairs}
    assert [text for text in texts if "\n" in text] == []
    assert {text.rpartition("no script can be written: ")[2] for text in texts} <= {
        "",
        "its arguments cannot be printed",
        "what the call changes is state of the process, which only the harness looks at",
    }


def test_the_head_of_a_script_that_ends_its_process_says_so():
    text = script.script_of("aten.abs.default", finding("call", "", "crash SIGSEGV"), HEAD)
    assert "THIS SCRIPT DOES NOT END BY ITSELF: crash SIGSEGV." in text.partition("import os")[0]
    assert finding("fake", "", "timeout").ends_process
    assert not finding("fake").ends_process


def test_values_that_are_not_the_recorded_ones_are_said_to_be_others():
    shown = f"{ABS}  # with the recorded values: python -m sweep show aten.abs.default 3"
    text = script.script_of("aten.abs.default", finding("fake", example=shown), HEAD)
    assert "these are others" in text
    assert "sweep" not in text
    ast.parse(text)


# --- the command -------------------------------------------------------------------------------------------------------


def repro(*arguments):
    line = [sys.executable, "-m", "sweep", "repro", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_repro_prints_the_first_finding_and_names_the_others():
    done = repro("aten.max_unpool2d.default")
    assert done.returncode == 0
    assert done.stdout.startswith('"""aten.max_unpool2d.default: decomposition: output 0 strides[1]\n')
    assert "1: fake: output 0 strides[1]" in done.stderr
    one = repro("aten.max_unpool2d.default", "--finding", 1, "--torch", "2.13")
    assert one.stdout.startswith('"""aten.max_unpool2d.default: fake: output 0 strides[1]\n')
    assert one.stderr == ""


def test_repro_writes_a_file_per_finding(tmp_path):
    done = repro("aten.max_unpool2d.default", "--write", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()] == sorted(p.name for p in (tmp_path / "new").iterdir())
    assert "aten.max_unpool2d.default-1-fake-output-0-strides-1.py" in done.stdout
    file = tmp_path / "file"
    file.touch()
    assert "name another folder with --write DIR" in repro("aten.max_unpool2d.default", "--write", file).stderr


def test_repro_makes_the_body_of_an_issue():
    done = repro("aten.max_unpool2d.default", "--finding", 1, "--markdown")
    assert done.stdout.startswith("### `aten.max_unpool2d.default`: fake: output 0 strides[1]\n")
    assert "\ntorch 2.13.0 git " in done.stdout
    assert "CPU of this machine: " in done.stdout
    assert done.stdout.count("```") == 6


def test_repro_of_an_overload_without_finding_says_so():
    done = repro("aten.abs.default")
    assert (done.returncode, done.stderr) == (0, "")
    assert "has no finding in" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("aten.asb.default",), "has no overload 'aten.asb.default'; similar ones: aten.abs.default"),
        (("aten.max_unpool2d.default", "--finding", 9), "has findings 0 to 2: there is no finding 9"),
        (("aten.max_unpool2d.default", "--torch", "1.0"), "no expect files for 1.0 on cpu"),
    ],
)
def test_repro_refuses_what_there_is_not(arguments, why):
    done = repro(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert why in done.stderr
