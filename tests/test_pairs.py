"""Pairs of mutations: what they cover, and that a fault which needs two unusual arguments at once is reached from one call."""

from __future__ import annotations

import itertools

import pytest
import torch

from opinfo_adapters.derived import memory_formats, pairs
from opinfo_adapters.derived.mutations import Aspect, Mutation
from opinfo_adapters.derived.pairs import _Pairs
from sweep.calls.codec import encode
from sweep.execution.check import Checker
from sweep.recording.attempts import Attempts
from sweep.recording.merge import Merger
from sweep.recording.recorded import RecordedCalls
from sweep.recording.shards import ShardCall, write_shard


@pytest.fixture
def library():
    with torch.library._scoped_library("sweep_pairs", "DEF") as scoped:
        yield scoped


def variants_of(folder, name, args, kwargs):
    """The recorded call of an overload, and the variants that are derived from it alone."""
    call = encode(name, args, kwargs, device="cpu", source="test")
    (folder / "shards").mkdir()
    write_shard(folder / "shards" / "000000.shard", [ShardCall.of(call)])
    Merger(folder).add(folder / "shards", "recording")
    namespace, packet, overload = name.split(".")
    op = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    attempts = Attempts(name, op, "cpu")
    pairs.run(name, RecordedCalls(folder, "cpu"), attempts)
    return op, call, attempts


#: Name -> schema, how eager computes it, whether a meta function is wrong, and the arguments of the one recorded call.
FAULTS = {
    "option_and_permuted_argument": (
        "(Tensor x, Tensor y, float scale=0.5) -> Tensor",
        lambda x, y, scale=0.5: (x + y * scale).contiguous(),
        lambda x, y, scale=0.5: scale == 1 and y.stride() == (1, 2, 6),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4), 0.5),
    ),
    "flag_and_empty_dimension": (
        "(Tensor x, int dim, bool keepdim=False) -> Tensor",
        lambda x, dim, keepdim=False: torch.sum(x, dim, keepdim),
        lambda x, dim, keepdim=False: keepdim and x.numel() == 0,
        (torch.ones(2, 3, 4), 0),
    ),
    "middle_slice_and_dtype": (
        "(Tensor x, *, ScalarType? dtype=None) -> Tensor",
        lambda x, *, dtype=None: x.to(dtype or x.dtype, copy=True).contiguous(),
        lambda x, *, dtype=None: dtype is torch.float64 and x.dim() == 3 and x.stride() == (28, 4 * 2, 1),
        (torch.ones(2, 3, 4),),
    ),
    "aliased_arguments": (
        "(Tensor x, Tensor y) -> Tensor",
        lambda x, y: (x + y).contiguous(),
        lambda x, y: x.untyped_storage()._cdata == y.untyped_storage()._cdata,
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
    ),
    "three_dimensions_as_nlc": (
        "(Tensor x, Tensor weight) -> Tensor",
        lambda x, weight: (x + weight).contiguous(),
        lambda x, weight: weight.stride() == (12, 1, 3) and x.stride() == (12, 1, 3),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
    ),
    "low_precision_and_full_precision": (
        "(Tensor x, Tensor weight) -> Tensor",
        lambda x, weight: (x + weight).to(x.dtype).contiguous(),
        lambda x, weight: (x.dtype, weight.dtype) == (torch.bfloat16, torch.float32),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
    ),
    "one_swap_and_a_flag": (
        "(Tensor x, Tensor y, bool flag=False) -> Tensor",
        lambda x, y, flag=False: (x + y).contiguous(),
        lambda x, y, flag=False: flag and y.stride() == (4, 8, 1),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_needs_two_unusual_arguments_is_reached_from_one_call(library, tmp_path, fault):
    schema, compute, is_wrong, args = FAULTS[fault]
    library.define(f"{fault}{schema}")
    library.impl(fault, compute, "CPU")

    def meta(*args, **kwargs):
        right = compute(*args, **kwargs)
        return right.new_empty((*right.shape, 1)) if is_wrong(*args, **kwargs) else right

    library.impl(fault, meta, "Meta")
    op, call, attempts = variants_of(tmp_path, f"sweep_pairs.{fault}.default", args, {})
    assert Checker(op, [call], "cpu", ["fake"]).run().findings == ()
    findings = Checker(op, attempts.kept, "cpu", ["fake"]).run().findings
    assert {(str(finding.place), finding.what.split(" ")[-1]) for finding in findings} & {("output 0", "rank")}
    assert attempts.pairs.covered > 0


def mutations(*sizes):
    """Mutations of parameters with so many values each; the first parameter is no memory format."""
    return [
        Mutation(f"argument {at}", Aspect.FORMAT if at else Aspect.VALUE, f"{value}", "", lambda _: None)
        for at, size in enumerate(sizes)
        for value in range(size)
    ]


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (4, 3, 2), (5, 5, 5, 5)])
def test_every_pair_is_covered_by_few_rows(sizes):
    every = mutations(*sizes)
    waiting, rows = _Pairs(every), []
    while row := waiting.next_row(3):
        waiting.cover(row)
        rows.append(row)
    for row in rows:
        assert len({m.parameter for m in row}) == len(row)
    covered = {frozenset(pair) for row in rows for pair in itertools.combinations(row, 2)}
    wanted = {frozenset((a, b)) for a, b in itertools.combinations(every, 2) if not a.excludes(b)}
    assert covered == wanted
    assert {m for row in rows for m in row} >= {m for m in every if m.is_format}
    assert len(rows) <= 2 * max([a * b for a, b in itertools.combinations(sizes, 2)], default=1)


def test_what_is_refused_is_not_tried_again():
    waiting = _Pairs(mutations(1, 2))
    first = waiting.next_row(0)
    waiting.drop(first[:2])
    assert waiting.next_row(0) != first
    assert waiting.counts.infeasible > 0


def test_the_pairs_of_an_overload_are_counted(tmp_path):
    _, _, attempts = variants_of(tmp_path, "aten.neg.default", (torch.ones(2, 3),), {})
    counts = attempts.pairs
    assert counts.covered > 20
    assert counts.left == 0
    assert {c.variant for c in attempts.kept} >= {"empty", "unit", "combined", "mixed_dtypes"}
    assert any("offset" in c.source for c in attempts.kept)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 1, 3, 4), (2, 2, 2, 2, 3)])
def test_a_memory_format_keeps_size_dtype_and_values(shape):
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    names = []
    for variant, name, change in memory_formats.formats_of(tensor):
        other = change(tensor)
        if other is None:
            continue
        names.append(name)
        assert (other.shape, other.dtype) == (tensor.shape, tensor.dtype)
        assert torch.equal(other, tensor) or variant == "expanded"
        plain = (other.stride(), other.storage_offset(), other.is_neg()) == (tensor.stride(), 0, False)
        assert not plain, name
    assert len(set(names)) == len(names)
    if len(shape) == 3:
        assert {"permuted 021", "permuted 102", "permuted 120", "permuted 210", "sliced 1", "offset"} <= set(names)
