"""Shards and merging: the same files as ``corpus.write_file`` makes, whatever stage a call comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sweep.calls import corpus
from sweep.calls.call import Recorded
from sweep.calls.codec import encode
from sweep.errors import CorpusError
from sweep.recording.index import OverloadEntry, read_index
from sweep.recording.merge import Merger, extend_file
from sweep.recording.recorded import RecordedCalls
from sweep.recording.shards import ShardCall, read_shard, write_shard
from sweep.recording.stages import INCIDENTAL


def call_of(size, value=1.0):
    return encode("aten.abs.default", (torch.full((size,), value),), {}, device="cpu", source="test")


def add(merger, folder, module, *calls):
    shards = folder / module
    shards.mkdir()
    write_shard(shards / "000000.shard", calls)
    merger.add(shards, module)


def ids(folder):
    return [call["id"] for call, _ in corpus.read_file(folder / "aten.abs.default.npz")]


def test_a_shard_is_read_as_it_was_written(tmp_path):
    written = [ShardCall.of(call_of(3)), ShardCall.of(call_of(4), incidental="torch.float32", repeats=False)]
    write_shard(tmp_path / "shard", written)
    assert list(read_shard(tmp_path / "shard")) == written


@pytest.mark.parametrize("content", [b"", b"short", bytes(8), b"\xff" * 64])
def test_a_damaged_shard_is_one_line(tmp_path, content):
    (tmp_path / "shard").write_bytes(content)
    with pytest.raises(CorpusError, match="cannot be read"):
        list(read_shard(tmp_path / "shard"))


def test_a_shard_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(CorpusError, match="cannot write"):
        write_shard(tmp_path / "missing" / "shard", [])


def test_a_file_that_was_extended_equals_one_that_was_written_at_once(tmp_path):
    calls = [call_of(size) for size in (1, 3, 0, 5)]
    corpus.write_file(tmp_path / "whole.npz", [c.as_json() for c in calls], [bytes(c.data) for c in calls])
    for call in calls:
        nbytes = extend_file(tmp_path / "extended.npz", [ShardCall.of(call)])
    assert (tmp_path / "extended.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert nbytes == (tmp_path / "whole.npz").stat().st_size


def test_of_equal_calls_the_first_is_kept_over_all_stages(tmp_path):
    merger = Merger(tmp_path)
    add(merger, tmp_path, "recording", ShardCall.of(call_of(2, 1.0)), ShardCall.of(call_of(2, 2.0)))
    add(merger, tmp_path, "tensor_variants", ShardCall.of(call_of(2, 3.0)), ShardCall.of(call_of(3, 4.0)))
    values = [corpus_call.data[:4] for corpus_call in corpus.load(tmp_path, "aten.abs.default")]
    assert len(values) == 2
    [(_, first), (_, second)] = corpus.read_file(tmp_path / "aten.abs.default.npz")
    assert [torch.frombuffer(bytearray(chunk), dtype=torch.float32)[0] for chunk in (first, second)] == [1.0, 4.0]


def test_incidental_calls_are_limited_and_those_that_do_not_repeat_count(tmp_path):
    merger = Merger(tmp_path)
    incidental = [ShardCall.of(call_of(n), incidental="torch.float32", repeats=n > 0) for n in range(INCIDENTAL + 5)]
    add(merger, tmp_path, "recording", *incidental, ShardCall.of(call_of(1000)))
    assert ids(tmp_path) == [call.id for call in incidental[1:INCIDENTAL]] + [call_of(1000).as_json()["id"]]


def test_the_index_says_where_calls_come_from(tmp_path):
    merger = Merger(tmp_path)
    guess = ShardCall.of(call_of(2), guessed=True)
    add(merger, tmp_path, "schema_guesses", guess)
    size = (tmp_path / "aten.abs.default.npz").stat().st_size
    assert read_index(tmp_path) == {"aten.abs.default": OverloadEntry(calls=1, nbytes=size, guessed=[guess.id])}
    add(merger, tmp_path, "overload_variants", ShardCall.of(call_of(3)))
    entry = read_index(tmp_path)["aten.abs.default"]
    assert (entry.calls, entry.guessed, entry.has_carried) == (2, [guess.id], True)
    counts = {"calls": 2, "refused": 0, "out_of_bounds": 0, "guessed": 1}
    assert merger.overloads() == {"aten.abs.default": {**counts, "bytes": entry.nbytes}}


def test_refused_calls_are_counted_apart_and_are_no_calls_of_the_overload(tmp_path):
    merger = Merger(tmp_path)
    refused = [replace(call_of(size), recorded=Recorded.REFUSED) for size in (2, 3)]
    outside = replace(call_of(4), recorded=Recorded.OUT_OF_BOUNDS)
    add(merger, tmp_path, "overload_variants", *(ShardCall.of(call) for call in (*refused, outside)))
    entry = read_index(tmp_path)["aten.abs.default"]
    assert (entry.calls, entry.refused, entry.out_of_bounds, entry.has_carried) == (0, 2, 1, False)
    assert (merger.overloads(), RecordedCalls(tmp_path, "cpu").is_called("aten.abs.default")) == ({}, False)
    add(merger, tmp_path, "tensor_variants", ShardCall.of(call_of(2)))
    assert merger.overloads()["aten.abs.default"]["calls"] == 1, "a call that is refused for its values is another one"
    assert [call.recorded for call in RecordedCalls(tmp_path, "cpu").calls("aten.abs.default")] == [Recorded.RETURNED]
    endings = [call.recorded for call in corpus.load(tmp_path, "aten.abs.default")]
    assert endings == [Recorded.REFUSED, Recorded.REFUSED, Recorded.OUT_OF_BOUNDS, Recorded.RETURNED]


def test_a_missing_index_is_one_line(tmp_path):
    with pytest.raises(CorpusError, match="cannot be read"):
        read_index(tmp_path)
