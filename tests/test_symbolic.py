"""The crossrefs ``symbolic`` and ``unbacked``: a planted fault under dynamic shapes is reported, and by them alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sweep import crossref
from sweep.crossref.common.selection import selected
from sweep.crossref.common.symbolic_shapes import Sizes, SymbolicArguments, why_not_symbolic
from sweep.execution.checkpoints import Checkpoint
from sweep.findings.finding import Status
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from tests import planted
from tests.planted import check
from tests.whole_runs import ROOT


def define(name, fake, real=lambda x: x.clone(memory_format=torch.contiguous_format)):
    return planted.define(f"symbolic_{name}", "(Tensor x) -> Tensor", real, fake)


def findings(op, *tensors):
    result = check(op, [planted.call(op, tensor) for tensor in tensors], crossref.names())
    return [(f.author, f.what, f.calls) for f in result.findings]


def calls_int(x):
    return x.new_empty([int(size) for size in x.shape])


def branches(x):
    if x.shape[0] == 2:
        return x.new_empty([2, *x.shape[1:]])
    return x.new_empty(x.shape)


def wrong_strides(x):
    is_symbolic = isinstance(x.shape[0], torch.SymInt)
    rows, columns = x.shape
    return x.new_empty_strided((rows, columns), (columns + is_symbolic, 1))


def wrong_size(x):
    return x.new_empty((x.shape[0] + isinstance(x.shape[0], torch.SymInt), x.shape[1]))


def refuses_symbols(x):
    if any(isinstance(size, torch.SymInt) for size in x.shape):
        raise LookupError("symbols")
    return x.new_empty(x.shape)


def recurses(x):
    return recurses(x) if isinstance(x.shape[0], torch.SymInt) else x.new_empty(x.shape)


GUARD = "unbacked raises GuardOnDataDependentSymNode"

FAULTS = {
    "int": (calls_int, [("unbacked", GUARD, 1)]),
    "branch": (branches, [("unbacked", GUARD, 1)]),
    "strides": (wrong_strides, [("symbolic", "output 0 strides[0]", 1), ("unbacked", "output 0 strides[0]", 1)]),
    "size": (wrong_size, [("symbolic", "output 0 size[0]", 1), ("unbacked", "output 0 size[0]", 1)]),
    "raises": (refuses_symbols, [("symbolic", "symbolic raises LookupError", 1), ("unbacked", "unbacked raises LookupError", 1)]),
    "recursion": (
        recurses,
        [("symbolic", "symbolic raises RecursionError", 1), ("unbacked", "unbacked raises RecursionError", 1)],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_reported_exactly_and_by_no_other_crossref(name):
    fake, expected = FAULTS[name]
    assert findings(define(name, fake), torch.ones(3, 4)) == expected


def test_a_right_meta_is_silent_for_every_layout():
    op = define("right", lambda x: x.new_empty(x.shape))
    tensors = [torch.ones(3, 4), torch.ones(4, 3).t(), torch.ones(1, 4), torch.ones(0, 3), torch.ones(1, 3).expand(2, 3)]
    assert findings(op, *tensors, torch.ones(3, 8)[:, ::2]) == []


def test_what_static_fake_tensors_show_is_not_repeated():
    op = planted.wrong_stride(1)
    result = check(op, [planted.call(op, torch.zeros(2, 3, 4))], ["fake", "symbolic", "unbacked"])
    assert [(f.author, f.what) for f in result.findings] == [("fake", "output 0 strides[1]")]
    op = planted.mismatches()["raises"][0]
    result = check(op, [planted.call(op, torch.zeros(2, 3, 4))], ["fake", "symbolic", "unbacked"])
    assert [f.author for f in result.findings] == ["fake"]
    assert not result.compared.keys() & {"symbolic", "unbacked"}


def test_calls_without_a_symbol_are_not_compared():
    op = define("no_symbol", lambda x: x.new_empty(x.shape))
    result = check(op, [planted.call(op, torch.ones(1, 0))], ["symbolic"])
    assert (result.status, str(result.reason)) == (
        Status.NOT_CALLED,
        "exempt: no tensor has a size other than 0 and 1, which are constants",
    )
    assert why_not_symbolic([torch.eye(2).to_sparse()], {}) == "only strided tensors have symbolic sizes"


def test_glu_backward_branches_on_an_unbacked_size():
    call = planted.encode("aten.glu_backward.default", (torch.ones(2, 2), torch.ones(2, 4), -1), {}, device="cpu", source="test")
    result = check(torch.ops.aten.glu_backward.default, [call], ["symbolic", "unbacked"])
    assert [(f.author, f.what) for f in result.findings] == [("unbacked", GUARD)]


def test_equal_sizes_share_a_symbol_and_strides_are_products_of_sizes():
    for sizes in Sizes:
        symbolic = SymbolicArguments(([torch.ones(3, 4), torch.ones(4, 1)], {}), sizes)
        x, y = symbolic.args
        assert str(x.shape[1]) == str(y.shape[0]) == str(x.stride(0))
        assert [symbolic.number(n) for n in (*x.shape, *x.stride(), *y.shape)] == [3, 4, 4, 1, 4, 1]


def test_strides_and_offsets_are_symbols_where_sizes_are_constants_as_in_dynamo():
    base = torch.zeros(20)
    x, y, z = SymbolicArguments(([base.as_strided((1,), (7,), 3), torch.zeros(1), torch.zeros(9)[3:4]], {}), Sizes.BACKED).args
    assert [isinstance(n, torch.SymInt) for n in (*x.shape, *x.stride(), x.storage_offset())] == [False, True, True]
    assert not y._has_symbolic_sizes_strides
    assert (z.shape, z.stride(), isinstance(z.storage_offset(), torch.SymInt)) == ((1,), (1,), True)


def test_arguments_on_one_storage_stay_on_one():
    base = torch.arange(12.0)
    x, y = SymbolicArguments(([base[:6].view(2, 3), base[2:8]], {}), Sizes.BACKED).args
    assert x.untyped_storage()._cdata == y.untyped_storage()._cdata
    assert isinstance(y.storage_offset(), torch.SymInt)


def positions(*arguments):
    return sorted(selected([planted.encode("aten.x.default", a, {}, device="cpu", source="test") for a in arguments]))


def test_calls_are_selected_that_together_have_every_aspect():
    x, base = torch.ones(3, 4), torch.arange(12.0)
    assert positions([x], [torch.ones(5, 7)], [torch.ones(3, 3, dtype=torch.float64)]) == [0]
    for other in (x.long(), x[None], x.t(), torch.ones(0, 4), x[:1], x[1:], x.cfloat().conj()):
        assert positions([x], [other]) == [0, 1]
    assert positions([x, x.clone()], [x, x]) == [0, 1]
    assert positions([x, x], [x, x[:2]], [x[:1], x[:1]]) == [0, 1, 2]
    assert positions([base, 1, 0.5], [base, 2, 0.25], [base, -1, 0.5], [base, 1, 2], [base, 1, True]) == [0, 2, 3, 4]
    assert positions([base, [1, 2]], [base, [3, 4]], [base, [1]], [base, None], [base, torch.float32]) == [0, 2, 3, 4]
    generators = [torch.Generator(), torch.Generator()]
    assert positions(*[[base, generator] for generator in generators]) == [0]


def test_calls_with_few_tensors_are_selected_first_and_of_many_only_one():
    few, many = [torch.ones(2)] * 2, [torch.ones(2) for _ in range(30)]
    assert positions([many], [few]) == [1]
    assert positions([many, 1], [many, -1]) == [0]


def test_calls_without_a_symbol_are_selected_and_say_so():
    assert positions([torch.ones(1)], [torch.ones(2)], [torch.ones(1)], [torch.ones(3)]) == [0, 1, 2]


def test_a_run_that_goes_on_compares_the_calls_that_one_run_compares():
    op = define("continued", wrong_size)
    calls = [planted.call(op, torch.ones(n, 4)) for n in (2, 3, 4)]
    whole = check(op, calls, ["symbolic"])
    later = check(op, calls, ["symbolic"], checkpoints=[Checkpoint(1, (), {})])
    assert (whole.compared, later.compared) == ({"symbolic": 1}, {})


def test_a_meta_that_hangs_for_symbols_is_a_timeout_of_these_crossrefs_alone(tmp_path, monkeypatch):
    source = (
        "import time\nimport torch\n"
        "library = torch.library.Library('sweep_hanging', 'DEF')\n"
        "library.define('hang(Tensor x) -> Tensor')\n"
        "library.impl('hang', lambda x: x.clone(), 'CPU')\n"
        "def fake(x):\n"
        "    if isinstance(x.shape[0], torch.SymInt):\n"
        "        time.sleep(60)\n"
        "    return torch.empty_like(x)\n"
        "torch.library.register_fake('sweep_hanging::hang', fake, lib=library)\n"
    )
    (tmp_path / "hanging_library.py").write_text(source)
    record = (
        "import hanging_library, sys, torch; from pathlib import Path; from sweep.calls import corpus; "
        "from sweep.calls.codec import encode; name = 'sweep_hanging.hang.default'; "
        "call = encode(name, (torch.ones(3),), {}, device='cpu', source='test'); "
        "corpus.write_file(Path(sys.argv[1]) / f'{name}.npz', [call.as_json()], [bytes(call.data)])"
    )
    paths = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", record, str(tmp_path)], env=paths, check=True, timeout=120)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    with Sandbox(tmp_path / "scratch", libraries=["hanging_library"]) as sandbox:
        supervisor = Supervisor(sandbox, tmp_path, "cpu", ["fake", "symbolic"], timeout=3.0)
        result = supervisor.run("sweep_hanging.hang.default")
    assert [(f.author, f.what) for f in result.findings] == [("symbolic", "timeout")]
