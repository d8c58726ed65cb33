"""The files of parsed manifests: which are used, which are not, and what is said of these."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time

import pytest

from include.engine.inside import store

from .conftest import INSIDE
from .test_cold import of_somebody_else
from .test_processes import as_nobody

KEY, OTHER = "a" * 32, "b" * 32
VALUES = {"WORD": "hot", "UNSET": "-"}
PICKLED = pickle.dumps({"nodes": ["one"] * 100})


@pytest.fixture
def folder(tmp_path):
    store.save(str(tmp_path / "parsed"), KEY, VALUES, PICKLED)
    return tmp_path / "parsed"


def load(folder, key=KEY, **values):
    return store.load(str(folder), key, lambda name: (VALUES | values)[name])


def file_of(folder):
    (path,) = folder.iterdir()
    return path


def test_what_was_saved_is_loaded(folder):
    assert load(folder) == (PICKLED, ["UNSET", "WORD"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file_of(folder).stat().st_mode & 0o777 == 0o600


def test_another_key_or_another_variable_finds_nothing(folder, capfd):
    assert load(folder, OTHER) is None
    assert load(folder, WORD="cold") is None
    store.save(str(folder), KEY, VALUES | {"WORD": "cold"}, b"other")
    assert load(folder, WORD="cold") == (b"other", ["UNSET", "WORD"])
    assert load(folder) == (PICKLED, ["UNSET", "WORD"])
    assert capfd.readouterr().err == ""


def test_no_value_of_a_variable_is_written(folder):
    """It may be a password."""
    store.save(str(folder), KEY, {"PASSWORD": "hunter2"}, b"")
    assert not any(b"hunter2" in path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data[:40],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: pickle.dumps("foreign"),
    ],
)
def test_damaged_file_is_ignored_with_one_line(folder, capfd, change):
    path = file_of(folder)
    path.write_bytes(change(path.read_bytes()))
    assert load(folder) is None
    said = f"Ignores the cached manifest {path.name}: it is damaged\n"
    assert capfd.readouterr().err == said


def test_renamed_file_is_ignored(folder, capfd):
    path = file_of(folder).rename(folder / f"{OTHER}-0{store.SUFFIX}")
    assert load(folder, OTHER) is None
    said = f"Ignores the cached manifest {path.name}: it belongs to another project\n"
    assert capfd.readouterr().err == said


def test_link_to_a_file_elsewhere_is_ignored(folder, tmp_path, capfd):
    path = file_of(folder)
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    assert load(folder) is None
    assert "Too many levels of symbolic links" in capfd.readouterr().err
    path.unlink()
    os.mkfifo(path)
    assert load(folder) is None
    assert capfd.readouterr().err == f"Ignores the cached manifest {path.name}: it is no file\n"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_folder_that_others_may_enter_is_not_used(folder, capfd, mode):
    folder.chmod(mode)
    assert load(folder) is None
    reason = f"{folder} is not a folder that only you can enter"
    assert capfd.readouterr().err == f"Ignores the cached manifest {folder}: {reason}\n"
    with pytest.raises(store.Unusable, match="only you can enter"):
        store.save(str(folder), OTHER, {}, b"")


def test_folder_that_is_a_link_is_not_used(folder, tmp_path, capfd):
    (tmp_path / "link").symlink_to(folder)
    assert load(tmp_path / "link") is None
    assert "Not a directory" in capfd.readouterr().err


def test_folder_of_somebody_else_is_not_used(tmp_path):
    other = of_somebody_else(tmp_path)
    with pytest.raises((store.Unusable, OSError), match=r"only you can enter|Permission denied"):
        store.save(str(other), KEY, {}, b"")


def test_another_user_reads_nothing(folder):
    if os.getuid():
        pytest.skip("needs root, to become another user")
    assert as_nobody(lambda: str(os.listdir(folder))) == "PermissionError"


def test_relative_folder_or_address_is_none():
    for value in ("parsed", "s3://bucket/parsed", ""):
        assert store.chosen_folder({store.VARIABLE: value}) == ""
    assert store.chosen_folder({}) == ""
    assert store.chosen_folder({store.VARIABLE: "/parsed/"}) == "/parsed"


def test_the_longest_unused_files_go(tmp_path):
    """And what a process left that was killed while it wrote."""
    folder = tmp_path / "parsed"
    keys = [f"{i:032}" for i in range(store.KEPT + 2)]
    for i, key in enumerate(keys):
        store.save(str(folder), key, {}, b"")
        if i == store.KEPT - 1:
            unfinished = folder / f".{'0' * 16}"
            unfinished.touch()
            os.utime(unfinished, (1, 1))
            assert load(folder, keys[0])
        time.sleep(0.01)
    kept = {path.name[:32] for path in folder.iterdir()}
    assert kept == {keys[0], *keys[3:]}


WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
import store
for i in range(50):
    store.save(sys.argv[2], "a" * 32, {}, bytes([i]) * 100_000)
    pickled, _ = store.load(sys.argv[2], "a" * 32, str)
    assert len(set(pickled)) == 1 and len(pickled) == 100_000
"""


def test_processes_that_write_at_once_leave_whole_files(tmp_path):
    argv = [sys.executable, "-c", WRITE, INSIDE, tmp_path / "parsed"]
    writers = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in writers] == [("", 0)] * 4
    assert len(list((tmp_path / "parsed").iterdir())) == 1
