"""The local copy of a manifest that another pipeline builds and puts at a URL.

The URL is one of Airflow's object storage, with a connection where it needs one:
`s3://aws_default@bucket/manifest.json` (https://airflow.apache.org/docs/apache-airflow/stable/
core-concepts/objectstorage.html). Each version is fetched once. While the store cannot be reached,
the last copy is used, with a warning.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.engine.manifest.records import ManifestError

log = logging.getLogger(__name__)

TASKS_COMPARE_AFTER = 300.0
"""A task process takes a copy of this age, in seconds, without asking the store for its version."""

# A link to the folder of the current version. Its own time is when the version was last compared.
CURRENT = "current"


def local_copy(url: str, may_be_old: bool = False, cache: Path | None = None) -> Path:
    """A file with the manifest at `url`, in a folder of its own for each version.

    With `may_be_old`, a copy that was compared within TASKS_COMPARE_AFTER is taken as it is. Raises
    ManifestError if the manifest cannot be fetched and there is no earlier copy.
    """
    folder = cache_folder(url, cache or Path(tempfile.gettempdir()))
    with locked(folder):
        if may_be_old and seconds_since_compared(folder) < TASKS_COMPARE_AFTER:
            return current_file(folder)
        try:
            fetch(url, folder)
        except Exception as error:  # whatever a store's own client raises
            reason = f"{type(error).__name__}: {error}"
            if not current_file(folder).exists():
                raise ManifestError(
                    f"The manifest at {url} cannot be fetched ({reason}). "
                    "DBT_MANIFEST_URL names it; it is read with the connection in that URL."
                ) from error
            log.warning(
                "The manifest at %s cannot be compared, the last copy is used: %s", url, reason
            )
        return current_file(folder)


def fetch(url: str, folder: Path) -> None:
    """Makes the store's version the current one, and reads it from the store if it is not here."""
    from airflow.sdk import ObjectStoragePath

    source = ObjectStoragePath(url)
    # fsspec: "if the checksum is the same ..., the contents are guaranteed to be the same"
    version = hashlib.sha256(str(source.checksum()).encode()).hexdigest()[:16]
    if not (folder / version).exists():
        unfinished = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
        try:
            (unfinished / "manifest.json").write_bytes(source.read_bytes())
            unfinished.rename(folder / version)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    before = (folder / CURRENT).resolve().name
    make_current(folder, version)
    if before != version:
        # A process may be about to read the version before: keep it.
        for old in set(folder.glob("*/manifest.json")) - {current_file(folder)}:
            if old.parent.name not in (before, CURRENT):
                shutil.rmtree(old.parent, ignore_errors=True)


def make_current(folder: Path, version: str) -> None:
    link = folder / f".{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(version)
    link.replace(folder / CURRENT)


def current_file(folder: Path) -> Path:
    """The file of the current version, by its own name."""
    return (folder / CURRENT).resolve() / "manifest.json"


def seconds_since_compared(folder: Path) -> float:
    """Seconds since the current version was compared with the store's; infinite without one."""
    try:
        return time.time() - (folder / CURRENT).lstat().st_mtime
    except OSError:
        return float("inf")


def cache_folder(url: str, parent: Path) -> Path:
    """The folder for the versions of `url`, which belongs to this user: `parent` is shared."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    folder = parent / f"dbt-manifest-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ManifestError(
            f"{folder} belongs to another user: remove it, the manifest is kept there."
        )
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock: if several tasks start together, one of them fetches."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
