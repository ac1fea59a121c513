"""The commands print what they promise, and what cannot be done is one line on stderr and exit status 2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from sweep.calls.codec import encode
from sweep.execution.run import summary
from tests.whole_runs import ROOT, make_corpus


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "sweep", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def refused(*arguments):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    [line] = done.stderr.splitlines()
    assert line.startswith("sweep: ")
    return line


def test_list_prints_one_object_per_overload():
    done = command("list", "--ops", "aten.max_unpool2d*", "--json")
    overloads = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert all(set(o) == {"name", "kind", "tags", "kernels", "schema", "namespace"} for o in overloads)
    kinds = {o["name"]: o["kind"] for o in overloads}
    assert kinds == {"aten.max_unpool2d.default": "functional", "aten.max_unpool2d.out": "out"}
    assert all(o["kernels"]["cpu"] == ["CPU"] and o["namespace"] == "aten" for o in overloads)
    assert overloads[0]["schema"].startswith("aten::max_unpool2d(Tensor self, ")


def test_list_prints_a_table_of_one_device():
    done = command("list", "--ops", "aten.max_unpool2d.*", "--device", "cpu")
    header, *rows, total = done.stdout.splitlines()
    assert header.split() == ["overload", "kind", "kernels", "tags"]
    assert [row.split()[:4] for row in rows] == [
        ["aten.max_unpool2d.default", "functional", "cpu:", "CPU"],
        ["aten.max_unpool2d.out", "out", "cpu:", "CPU"],
    ]
    assert total == "2 overloads"


def test_list_refuses_what_matches_nothing():
    assert "no overload matches 'nothing*'" in refused("list", "--ops", "nothing*")
    assert "unknown device 'nonsense'" in refused("list", "--device", "nonsense")


def test_show_prints_a_call_that_can_be_pasted(tmp_path):
    tensor = torch.tensor([[-1.5, 2.0], [0.0, -3.0]])
    calls = [encode("aten.abs.default", (t,), {}, device="cpu", source=f"sample {t.dim()}") for t in (tensor[0], tensor.t())]
    folder = make_corpus(tmp_path / "corpus", *calls)
    done = command("show", "aten.abs.default", "1", "--corpus", str(folder))
    assert done.returncode == 0, done
    source, text = done.stdout.splitlines()
    assert source == "# sample 2"
    result = eval(text, {"torch": torch})
    assert torch.equal(result, tensor.t().abs())
    assert result.stride() == (1, 2)


def test_show_refuses_what_is_not_make_corpus(tmp_path):
    folder = make_corpus(tmp_path / "corpus", encode("aten.abs.default", (torch.zeros(2),), {}, device="cpu", source="test"))
    assert "there are some of: aten.abs.default" in refused("show", "abs", "--corpus", str(folder))
    assert "there is no call 1" in refused("show", "aten.abs.default", "1", "--corpus", str(folder))
    assert "run `make record`" in refused("show", "aten.abs.default", "--corpus", str(tmp_path))


def test_record_refuses_what_would_do_harm(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    assert "--corpus DIR" in refused("record", "--only", "x")
    assert "at least 1 process" in refused("record", "--workers", "0", "--corpus", str(tmp_path / "corpus"))
    assert "is not empty and not a corpus" in refused("record", "--only", "x", "--corpus", str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_record_refuses_tasks_that_there_are_not(tmp_path):
    assert "'x'" in refused("record", "--only", "x", "--corpus", str(tmp_path / "corpus"))
    assert not (tmp_path / "corpus").exists()


def test_show_says_how_to_load_values_that_are_too_many(tmp_path):
    tensor = torch.arange(100.0)
    folder = make_corpus(tmp_path / "corpus", encode("aten.abs.default", (tensor,), {}, device="cpu", source="test"))
    done = command("show", "aten.abs.default", "--corpus", str(folder))
    text, loading = done.stdout.split("# Its values are too many", 1)
    assert "torch.ones((100,)" in text
    *statements, expression = loading.splitlines()[1:]
    names = {}
    exec("\n".join(statements), names)
    assert torch.equal(eval(expression, names), tensor)


def test_a_summary_is_of_all_its_calls_and_shows_the_smallest(tmp_path):
    calls = [
        encode("aten.abs.default", (tensor,), {}, device="cpu", source="test", layout=layout)
        for tensor, layout in (
            (torch.zeros(3), ""),
            (torch.ones(2, dtype=torch.int64), "sliced"),
            (torch.zeros(3, dtype=torch.float16), "neg"),
        )
    ]
    folder = str(make_corpus(tmp_path / "corpus", *calls))
    found = summary("aten.abs.default", folder, [1, 2], "cpu")
    assert found == {
        "dtypes": ("float16", "int64"),
        "calls": 2,
        "example": "torch.ops.aten.abs.default(torch.tensor([1, 1], dtype=torch.int64))",
        "layouts": ("neg", "sliced"),
    }
    assert summary("aten.abs.default", folder, [0, 1], "cpu")["layouts"] == ()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("torch.ops.aten.abs.default(torch.zeros(2))", "agrees"),
        (
            "torch.ops.aten.gcd.default(torch.ones(2), torch.ones(2))",
            "every: real raises NotImplementedError: 1 of 1 call",
        ),
        ("torch.ops.aten.bernoulli.default(torch.ones(2), generator=None)", "agrees"),
        (
            "torch.ops.quantized.linear_unpack_fp16.default(torch.ops.quantized.linear_prepack_fp16.default(torch.ones(2, 3)))",
            "fake: crash SIGSEGV: 1 of 1 call",
        ),
    ],
)
def test_check_says_about_a_typed_call_what_an_expect_file_would(call, said):
    done = command("check", call)
    assert done.returncode == 0, done
    assert done.stdout.startswith(said), done.stdout


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("torch.abs(torch.zeros(2))", "is no call of an overload, such as"),
        ("torch.ops.aten.abs.nowhere(torch.zeros(2))", "is no call of an overload, such as"),
        ("torch.ops.aten.abs.default(x)", "its arguments cannot be made: NameError"),
        ("torch.ops.aten.abs.default(torch.nn.Parameter)", "cannot be written down: argument of type"),
    ],
)
def test_check_refuses_what_is_no_call_in_one_line(call, why):
    assert why in refused("check", call)
    assert "unknown crossref 'x'" in refused("check", call, "--crossref", "x")
