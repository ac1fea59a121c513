"""The commands print what they promise; a request that cannot be met is one line on stderr and exit status 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch

from sweep.calls.codec import encode
from tests.whole_runs import ROOT, environment, make_corpus, run_file


@pytest.fixture
def command(work):
    """Runs a command in a work folder of the tests."""

    def run(name, *arguments, work=work):
        line = [sys.executable, "-m", "sweep", name, *arguments, "--work-dir", str(work)]
        return subprocess.run(line, cwd=ROOT, env=environment(accept=False), capture_output=True, text=True, timeout=240)

    return run


@pytest.fixture
def refused(command):
    """Runs a command that refuses its arguments, and returns the line that says why."""

    def run(*arguments, **options):
        completed = command(*arguments, **options)
        assert (completed.returncode, completed.stdout) == (2, ""), completed
        [line] = completed.stderr.splitlines()
        assert line.startswith("sweep: ")
        return line

    return run


def test_list_prints_one_object_per_overload(command):
    completed = command("list", "--ops", "aten.max_unpool2d*", "--json")
    overloads = [json.loads(line) for line in completed.stdout.splitlines()]
    assert (completed.returncode, completed.stderr) == (0, "")
    assert all(set(o) == {"name", "kind", "tags", "kernels", "schema", "namespace"} for o in overloads)
    kinds = {o["name"]: o["kind"] for o in overloads}
    assert kinds == {"aten.max_unpool2d.default": "functional", "aten.max_unpool2d.out": "out"}
    assert all(o["kernels"]["cpu"] == ["CPU"] and o["namespace"] == "aten" for o in overloads)
    assert overloads[0]["schema"].startswith("aten::max_unpool2d(Tensor self, ")


def test_list_prints_a_table_of_one_device(command):
    completed = command("list", "--ops", "aten.max_unpool2d.*", "--device", "cpu")
    header, *rows, total = completed.stdout.splitlines()
    assert header.split() == ["overload", "kind", "kernels", "tags"]
    assert [row.split()[:4] for row in rows] == [
        ["aten.max_unpool2d.default", "functional", "cpu:", "CPU"],
        ["aten.max_unpool2d.out", "out", "cpu:", "CPU"],
    ]
    assert total == "2 overloads"


def test_list_refuses_what_matches_nothing(refused):
    assert "no overload matches 'nothing*'" in refused("list", "--ops", "nothing*")
    assert "unknown device 'nonsense'" in refused("list", "--device", "nonsense")


def test_show_prints_a_call_that_can_be_pasted(command, tmp_path):
    tensor = torch.tensor([[-1.5, 2.0], [0.0, -3.0]])
    calls = [encode("aten.abs.default", (t,), {}, device="cpu", source=f"sample {t.dim()}") for t in (tensor[0], tensor.t())]
    folder = make_corpus(tmp_path / "corpus", *calls)
    completed = command("show", "aten.abs.default", "1", "--corpus", str(folder))
    assert completed.returncode == 0, completed
    source, text = completed.stdout.splitlines()
    assert source == "# sample 2"
    result = eval(text, {"torch": torch})
    assert torch.equal(result, tensor.t().abs())
    assert result.stride() == (1, 2)


def test_show_refuses_what_was_not_recorded(refused, tmp_path):
    folder = make_corpus(tmp_path / "corpus", encode("aten.abs.default", (torch.zeros(2),), {}, device="cpu", source="test"))
    assert "there are some of: aten.abs.default" in refused("show", "abs", "0", "--corpus", str(folder))
    assert "there is no call 1" in refused("show", "aten.abs.default", "1", "--corpus", str(folder))
    assert "run `make record`" in refused("show", "aten.abs.default", "0", "--corpus", str(tmp_path))


def test_record_refuses_what_would_do_harm(refused, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    assert "--corpus DIR" in refused("record", "--only", "x")
    assert "--corpus DIR" in refused("record", "--pairs")
    assert "at least 1 process" in refused("record", "--workers", "0", "--corpus", str(tmp_path / "corpus"))
    assert "is not empty and not a corpus" in refused("record", "--only", "x", "--corpus", str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_record_refuses_tasks_that_there_are_not(refused, tmp_path):
    assert "'x'" in refused("record", "--only", "x", "--corpus", str(tmp_path / "corpus"))
    assert not (tmp_path / "corpus").exists()


def test_show_says_how_to_load_values_that_are_too_many(command, tmp_path):
    tensor = torch.arange(100.0)
    folder = make_corpus(tmp_path / "corpus", encode("aten.abs.default", (tensor,), {}, device="cpu", source="test"))
    completed = command("show", "aten.abs.default", "0", "--corpus", str(folder))
    text, loading = completed.stdout.split("# It has too many values to print", 1)
    assert "torch.ones((100,)" in text
    *statements, expression = loading.splitlines()[1:]
    names = {}
    exec("\n".join(statements), names)
    assert torch.equal(eval(expression, names), tensor)


def test_report_prints_the_summary_of_the_last_run(command, known):
    work = run_file(known / "work").parents[2]
    completed = command("report", work=work)
    assert (completed.returncode, completed.stderr) == (0, ""), completed
    assert re.search(r"^namespace +overloads +called +coverage ", completed.stdout, re.MULTILINE)
    [row] = [line.split() for line in completed.stdout.splitlines() if line.startswith("aten ")]
    assert row[1].isdigit()
    slowest = command("report", "--format", "slowest", work=work)
    assert slowest.stdout.startswith("overload ")


def test_report_refuses_a_run_or_format_that_there_is_not(command, refused, tmp_path):
    assert "no run has finished yet" in refused("report", work=tmp_path)
    assert "unknown format 'x'; there are: junit, slowest, terminal" in refused("report", "--format", "x", work=tmp_path)


def test_clean_removes_the_work_folder(command, tmp_path):
    (tmp_path / "work" / "2.13").mkdir(parents=True)
    assert command("clean", work=tmp_path / "work").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_that_cannot_be_written_is_refused(refused, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert f"cannot write to {file} (File exists): name another folder with --work-dir DIR" in refused("list", work=file)


PREPACKED = "torch.ops.quantized.linear_prepack_fp16.default(torch.ones(2, 3))"
NORM = "torch.ops.aten.batch_norm_update_stats.default(torch.randn(2, 300000, 2), torch.zeros(1), torch.zeros(1), 0.1)"


@pytest.mark.parametrize(
    "call",
    [
        "torch.ops.aten.abs.default(torch.zeros(2))",
        "torch.ops.aten.bernoulli.default(torch.ones(2), generator=None)",
    ],
)
def test_check_of_a_call_that_agrees(command, call):
    completed = command("check", call)
    assert (completed.returncode, completed.stderr) == (0, ""), completed
    assert completed.stdout == "agrees\n"


@pytest.mark.parametrize(
    ("call", "finding"),
    [
        (f"torch.ops.quantized.linear_unpack_fp16.default({PREPACKED})", "fake: crash SIGSEGV: 1 of 1 call"),
        (NORM, "call: crash SIG"),
    ],
)
def test_check_of_a_call_that_crashes(command, call, finding):
    completed = command("check", call)
    assert (completed.returncode, completed.stderr) == (1, ""), completed
    assert finding in completed.stdout
    assert f"\n  {call}\n" in completed.stdout
    assert "Traceback" not in completed.stdout
    assert "sweep show" not in completed.stdout


def test_check_of_a_call_that_eager_refuses_has_its_message_and_the_predictions(command):
    call = "torch.ops.aten.gcd.default(torch.ones(2), torch.full((2,), 7.5))"
    completed = command("check", call)
    assert (completed.returncode, completed.stderr) == (1, ""), completed
    first, example, side, lost, *_ = completed.stdout.splitlines()
    assert first.startswith("call: real raises NotImplementedError: 1 of 1 call")
    assert (example, side) == (f"  {call}", "  real: NotImplementedError")
    assert lost.startswith("validation[fake]: accepts what raises NotImplementedError: 1 of 1 refused call")
    explanation = [
        line for line in completed.stdout.splitlines() if not line.startswith(("  ", "call: ", "validation[fake]: acc"))
    ]
    assert explanation[0].startswith('real raises NotImplementedError: "gcd_cpu" not implemented for')
    [fake] = [line for line in explanation if line.startswith("fake: ")]
    assert fake == "fake: fake float32 (2,) strides (1,)"
    assert any(line.startswith("functionalize: ") for line in explanation)


def test_check_echoes_values_that_are_too_many_to_print_as_they_were_typed(command):
    call = "torch.ops.aten.max_unpool2d.default(torch.rand(1, 8, 8, 8).to(memory_format=torch.channels_last), torch.arange(64).expand(1, 8, 64).reshape(1, 8, 8, 8), [8, 8])"  # noqa: E501
    completed = command("check", call)
    assert completed.returncode == 1, completed
    assert "fake: output 0 strides[1]: 1 of 1 call" in completed.stdout
    assert f"\n  {call}\n" in completed.stdout
    assert "sweep show" not in completed.stdout


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("torch.ones(2, device='meta')", "there is nothing to check: aten.ones.default: device meta"),
        ("torch.ops.aten.abs.nowhere(torch.zeros(2))", "aten.abs.default"),
        ("torch.ops.aten.abs(torch.zeros(2))", "aten.abs.default"),
        ("torch.ops.aten.abs.default(x)", "NameError"),
        ("torch.ops.aten.abs.default(torch.nn.Parameter)", "argument of type"),
    ],
)
def test_check_refuses_what_is_no_call_in_one_line(refused, call, why):
    assert why in refused("check", call)


UNPOOL = "F.max_unpool2d(torch.rand(1, 8, 8, 8).to(memory_format=torch.channels_last), torch.arange(64).expand(8, 64).reshape(1, 8, 8, 8), 1)"  # noqa: E501


def test_check_of_an_expression_has_what_each_overload_says(command):
    completed = command("check", f"torch.ones(2).abs(); {UNPOOL}", "--crossref", "fake")
    assert (completed.returncode, completed.stderr) == (1, ""), completed
    lines = completed.stdout.splitlines()
    assert lines[:2] == ["[aten.ones.default] agrees", "[aten.abs.default] agrees"]
    finding = lines[lines.index("[aten.max_unpool2d.default]") + 1 :]
    assert finding[0] == "fake: output 0 strides[1]: 1 of 1 call, float32"
    assert finding[1].startswith("  torch.ops.aten.max_unpool2d.default(torch.zeros((512,), dtype=torch.float32).as_strided(")
    assert finding[2] == "  fake: float32 (1, 8, 8, 8) strides (512, 64, 8, 1)"
    assert re.fullmatch(r"(\d+) calls of \1 overloads: 1 disagrees", lines[-1])


def test_check_of_an_expression_that_agrees_in_backward_too(command):
    completed = command("check", "x = torch.ones(2, requires_grad=True); x.sigmoid().sum().backward()", "--json")
    assert (completed.returncode, completed.stderr) == (0, ""), completed
    *calls, text = map(json.loads, completed.stdout.splitlines())
    assert "aten.sigmoid_backward.default" in {call["overload"] for call in calls}
    assert {call["status"] for call in calls} == {"agrees"}
    assert (text["calls"], text["disagree"], text["raised"], text["exit_status"]) == (len(calls), 0, None, 0)


def test_check_of_an_expression_that_an_overload_refuses_has_its_findings(command):
    completed = command("check", "torch.ones(2).gcd(torch.ones(2))", "--crossref", "validation")
    assert (completed.returncode, completed.stderr) == (1, ""), completed
    first, *lines = completed.stdout.splitlines()
    assert first.startswith('the text raises NotImplementedError: "gcd_cpu" not implemented for')
    assert "call: real raises NotImplementedError: 1 of 1 call, float32" in lines
    assert "validation[fake]: accepts what raises NotImplementedError: 1 of 1 refused call, float32" in lines


def test_check_of_a_script_that_crashes_checks_every_call_before_and_names_the_crash(command, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import torch\n\ntorch.ones(2).abs()\n{NORM}\ntorch.ones(3).neg()\n")
    completed = command("check", "--file", str(script), "--crossref", "fake")
    assert (completed.returncode, completed.stderr) == (1, ""), completed
    first, *lines = completed.stdout.splitlines()
    assert first.startswith("the text ends its process: crash SIG")
    assert {"[aten.abs.default] agrees", "[aten.zeros.default] agrees"} <= set(lines)
    assert lines[lines.index("[aten.batch_norm_update_stats.default]") + 1].startswith("call: crash SIG")
    assert "sweep show" not in completed.stdout
    assert lines[-1].endswith(": 1 disagrees")


def test_check_refuses_a_script_that_cannot_be_read(refused, tmp_path):
    assert "name a Python script with --file PATH" in refused("check", "--file", str(tmp_path / "nothing.py"))


def test_check_refuses_an_unknown_crossref(refused):
    assert "unknown crossref 'x'" in refused("check", "torch.ops.aten.abs.default(torch.zeros(2))", "--crossref", "x")
