"""The folder of one try's files, which is removed when the try ends.

A try that is killed cannot remove its folder. The next try on the machine does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir


@contextmanager
def try_folder() -> Iterator[Path]:
    """A new folder, which is removed at the end of the block. Its lock ends with this process.

    Removes the folders that killed tries have left: those of this user that are not locked.
    """
    prefix = f"dbt-try-{os.getuid()}-"
    _remove_unlocked(prefix)
    temporary, lock = _locked_folder(prefix)
    try:
        with temporary:
            yield Path(temporary.name)
    finally:
        _unlock(lock)


def _locked_folder(prefix: str) -> tuple[TemporaryDirectory, int | None]:
    while True:
        temporary = TemporaryDirectory(prefix=prefix)
        lock = _lock(temporary.name, fcntl.LOCK_EX)
        if Path(temporary.name).exists():
            return temporary, lock
        # Another try has seen the folder before it was locked, and has removed it.
        _unlock(lock)
        temporary.cleanup()


def _remove_unlocked(prefix: str) -> None:
    with os.scandir(gettempdir()) as entries:
        folders = [entry.path for entry in entries if entry.name.startswith(prefix)]
    for folder in folders:
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None and os.fstat(lock).st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


def _lock(folder: str, kind: int) -> int | None:
    """The folder's lock, which _unlock gives back; None if there is none to be had."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, kind)
    except OSError:
        _unlock(lock)
        return None
    return lock


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
