"""A file has its old text or its new one, several change together or not at all, and a lock excludes other processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep import files

ROOT = Path(__file__).resolve().parent.parent


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_folders_are_made_and_all_texts_are_written(tmp_path):
    paths = [tmp_path / "a" / "b" / name for name in ("one", "two")]
    files.replace_all({path: path.name for path in paths})
    assert content(tmp_path / "a" / "b") == {"one": "one", "two": "two"}
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o644}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_all_old_files_and_nothing_else(tmp_path, monkeypatch, step):
    files.replace_all({tmp_path / "one": "old", tmp_path / "two": "old"})
    before = content(tmp_path)
    done = []

    def fail(*arguments):
        done.append(arguments)
        if step == "replace" or len(done) == 2:  # the second of the files, when the first is written already
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left") as caught:
        files.replace_all({tmp_path / "one": "new", tmp_path / "two": "new"})
    if step == "fsync":
        assert caught.value.filename == str(tmp_path / "two")
    assert content(tmp_path) == before


@pytest.mark.parametrize("kind", ["missing", "folder", "file"])
def test_a_second_process_blocks_until_the_lock_is_free_and_nothing_is_written(tmp_path, kind):
    path = tmp_path / "results"
    if kind == "folder":
        path.mkdir()
    if kind == "file":
        path.touch()
    code = f"from pathlib import Path; from sweep import files\nwith files.locked(Path({str(path)!r})): print('in')"
    with files.locked(path):
        second = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1)
    assert second.communicate(timeout=30)[0] == "in\n"
    assert content(tmp_path) == {"results": ""} if kind == "file" else list(path.iterdir()) == []
