"""A corpus is read as it was written; a damaged one raises an error that names the file and what to run."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from sweep.calls import corpus
from sweep.calls.codec import build, encode
from sweep.errors import CorpusError

NAME = "aten.test.default"


def recorded(*args):
    return encode(NAME, args, {}, device="cpu", source="test")


def written(folder, *calls):
    path = folder / f"{NAME}.npz"
    corpus.write_file(path, [call.as_json() for call in calls], [bytes(call.data) for call in calls])
    return path


def whole(folder):
    path = written(folder, recorded(torch.arange(3.0), 1), recorded(torch.arange(5), 2))
    manifest = {"format": corpus.FORMAT, "overloads": {NAME: {"calls": 2, "bytes": path.stat().st_size}}}
    (folder / corpus.MANIFEST).write_text(json.dumps(manifest))
    return path


def refused(function, *args):
    with pytest.raises(CorpusError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    assert "run `make record`" in message
    return message


def test_calls_are_loaded_with_their_values(tmp_path):
    tensors = [torch.arange(3.0), torch.arange(5), torch.empty(0), torch.tensor(1 + 2j)]
    written(tmp_path, *(recorded(tensor, at) for at, tensor in enumerate(tensors)))
    loaded = corpus.load(tmp_path, NAME)
    assert [(call.overload, call.source) for call in loaded] == [(NAME, "test")] * 4
    for at, (call, tensor) in enumerate(zip(loaded, tensors, strict=True)):
        [rebuilt, position], _ = build(call, "cpu")
        assert torch.equal(rebuilt, tensor)
        assert position == at


def test_a_file_read_call_by_call_can_be_written_again_to_the_same_bytes(tmp_path):
    path = written(tmp_path, recorded(torch.arange(3.0)), recorded(torch.arange(5)))
    calls, chunks = zip(*corpus.read_file(path), strict=True)
    again = tmp_path / "again.npz"
    assert corpus.write_file(again, list(calls), list(chunks)) == path.stat().st_size
    assert corpus.read_arrays(again)[0] == corpus.read_arrays(path)[0]
    assert bytes(corpus.read_arrays(again)[1]) == bytes(corpus.read_arrays(path)[1])


def test_calls_read_one_by_one_are_as_they_were_described(tmp_path):
    call = recorded(torch.arange(3.0), torch.arange(4))
    [(described, chunk)] = corpus.read_file(written(tmp_path, call))
    assert described == call.as_json()
    assert bytes(chunk) == bytes(call.data)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused(tmp_path, share):
    path = whole(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert str(path) in refused(corpus.load, tmp_path, NAME)


@pytest.mark.parametrize("mask", [0x01, 0x08, 0xFF])
def test_a_flipped_byte_is_refused_or_harmless_wherever_it_is(tmp_path, mask):
    path = whole(tmp_path)
    good = path.read_bytes()
    calls, data = corpus.read_arrays(path)
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ mask]) + good[at + 1 :])
        try:
            read_calls, read_data = corpus.read_arrays(path)
        except CorpusError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert (read_calls, bytes(read_data)) == (calls, bytes(data)), f"byte {at}"


def test_a_flipped_value_is_refused(tmp_path):
    path = written(tmp_path, recorded(torch.full((64,), 7, dtype=torch.uint8)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\7" * 64, b"\7" * 63 + b"\6"))
    assert path.read_bytes() != content
    assert str(path) in refused(corpus.load, tmp_path, NAME)


def test_pickled_objects_are_refused(tmp_path):
    path = tmp_path / f"{NAME}.npz"
    np.savez(path, calls=np.array([{"a": 1}], dtype=object), data=np.zeros(1, np.uint8))
    assert str(path) in refused(corpus.load, tmp_path, NAME)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04N.", b"PK\x03\x04 but no archive"])
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / f"{NAME}.npz"
    path.write_bytes(content)
    assert str(path) in refused(corpus.load, tmp_path, NAME)


def test_a_single_array_is_refused(tmp_path):
    path = tmp_path / f"{NAME}.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert str(path) in refused(corpus.load, tmp_path, NAME)


@pytest.mark.parametrize("calls", [b"not json", b"[{}]", b"[1]", b"3"])
def test_arrays_that_hold_no_calls_are_refused(tmp_path, calls):
    path = tmp_path / f"{NAME}.npz"
    np.savez(path, calls=np.frombuffer(calls, np.uint8), data=np.zeros(1, np.uint8))
    assert str(path) in refused(corpus.load, tmp_path, NAME)


def test_arrays_of_other_names_are_refused(tmp_path):
    path = tmp_path / f"{NAME}.npz"
    np.savez(path, data=np.zeros(1, np.uint8))
    assert str(path) in refused(corpus.load, tmp_path, NAME)


def test_a_missing_file_is_refused(tmp_path):
    assert str(tmp_path / f"{NAME}.npz") in refused(corpus.load, tmp_path, NAME)


def test_a_manifest_is_read_where_all_files_are_there(tmp_path):
    whole(tmp_path)
    assert corpus.read_manifest(tmp_path)["overloads"][NAME]["calls"] == 2


@pytest.mark.parametrize("folder", [".", "nowhere"])
def test_a_folder_without_manifest_is_no_corpus(tmp_path, folder):
    assert str(tmp_path / folder) in refused(corpus.read_manifest, tmp_path / folder)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "\xff",
        "[]",
        "null",
        "{}",
        '{"format": 1}',
        '{"format": 0, "overloads": {}}',
        '{"overloads": {}}',
        '{"format": 1, "overloads": []}',
        '{"format": 1, "overloads": {"aten.test.default": {}}}',
    ],
)
def test_a_manifest_of_another_format_is_refused(tmp_path, text):
    whole(tmp_path)
    path = tmp_path / corpus.MANIFEST
    path.write_bytes(text.encode("latin-1"))
    assert str(path) in refused(corpus.read_manifest, tmp_path)


def test_a_manifest_whose_file_is_missing_is_refused(tmp_path):
    path = whole(tmp_path)
    path.unlink()
    assert str(path) in refused(corpus.read_manifest, tmp_path)


def test_a_manifest_whose_file_has_another_size_is_refused(tmp_path):
    path = whole(tmp_path)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    message = refused(corpus.read_manifest, tmp_path)
    assert str(path) in message
    assert f"has {size + 1} bytes, the manifest says {size}" in message


@pytest.mark.parametrize("length", [1, 63, 64, 1000])
def test_values_are_loaded_to_an_aligned_address(length):
    for _ in range(20):
        copy = corpus.aligned(np.arange(length, dtype=np.uint8))
        assert copy.ctypes.data % corpus.ALIGNMENT == 0
        assert copy.tobytes() == np.arange(length, dtype=np.uint8).tobytes()


def test_every_storage_of_a_corpus_file_is_aligned(tmp_path):
    calls = [encode("aten.add.Tensor", (torch.ones(n), torch.ones(n)), {}, device="cpu", source="") for n in (1, 3, 50)]
    corpus.write_file(tmp_path / "aten.add.Tensor.npz", [c.as_json() for c in calls], [bytes(c.data) for c in calls])
    for call in corpus.load(tmp_path, "aten.add.Tensor"):
        args, _ = build(call, "cpu", own=False)
        assert [a.data_ptr() % corpus.ALIGNMENT for a in args] == [0, 0]


def test_the_corpus_is_read_without_torch():
    program = "import sys; import sweep.calls.corpus; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_corpus_that_cannot_be_written_names_the_file(tmp_path):
    with pytest.raises(CorpusError, match=r"cannot write .*nowhere.*No such file or directory"):
        corpus.write_file(tmp_path / "nowhere" / f"{NAME}.npz", [], [])
