"""The folder of a try: its own, gone at its end, and if it was killed, gone with the next try."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from include.engine import settings
from include.engine.run.try_folder import try_folder

HOLD = """
from include.engine.run.try_folder import try_folder
with try_folder() as folder:
    (folder / "file").write_text("")
    print(folder, flush=True)
    input()
"""
OFTEN = """
from include.engine.run.try_folder import try_folder
for number in range(200):
    with try_folder() as folder:
        (folder / "file").write_text(str(number))
        assert (folder / "file").read_text() == str(number)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=settings.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_folder_is_gone_after_a_try_that_failed(temporary):
    with pytest.raises(ZeroDivisionError), try_folder() as folder:
        assert list(temporary.iterdir()) == [folder]
        raise ZeroDivisionError
    assert list(temporary.iterdir()) == []


def test_a_try_removes_the_folder_of_a_killed_try_and_none_of_a_running_one(temporary):
    running, killed = start(HOLD), start(HOLD)
    in_use, left = (Path(process.stdout.readline().strip()) for process in (running, killed))
    killed.kill()
    killed.wait()
    assert set(temporary.iterdir()) == {in_use, left}
    with try_folder() as folder:
        assert set(temporary.iterdir()) == {in_use, folder}
    running.communicate("\n")
    assert list(temporary.iterdir()) == []


def test_tries_that_begin_and_end_at_the_same_time_keep_their_folders(temporary):
    assert [process.wait() for process in [start(OFTEN) for _ in range(4)]] == [0, 0, 0, 0]
    assert list(temporary.iterdir()) == []


def test_what_is_no_folder_of_a_try_stays(temporary):
    with try_folder() as folder:
        prefix = folder.name[:-8]
    elsewhere = temporary / "elsewhere"
    (temporary / "dbt-airflow-0").mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (temporary / f"{prefix}file").touch()
    (temporary / f"{prefix}link").symlink_to(elsewhere)
    before = sorted(temporary.rglob("*"))
    with try_folder():
        pass
    assert sorted(temporary.rglob("*")) == before
