"""dbt's parsed manifests: the folder for those of this machine, and what machines share.

A parsed manifest is a pickle, so whoever writes one can run code in a task. dbt's processes read
only a folder that this user alone can enter (inside/store.py). Where DBT_MANIFEST_CACHE is an
address, or a folder that others can enter, its files are copied from and to such a folder. Each of
them begins with a signature. The key is derived from Airflow's fernet key, which all workers have.
It never leaves this process.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from include.engine.inside import store
from include.engine.settings import Settings

log = logging.getLogger(__name__)

FOLDER = "parsed"
PURPOSE = b"parsed manifests of dbt"
SIGNATURE = 32  # bytes before the content


def local_folder(config: Settings) -> str:
    """The folder for dbt's processes; an empty text if there is none that only this user enters."""
    if config.manifest_cache:
        place = shared_place(config)
        return own_copy(place) if place else config.manifest_cache
    folders = [str(config.manifest.parent / FOLDER)]
    if "://" not in config.runs_folder:
        folders.append(str(Path(config.runs_folder, f".{FOLDER}")))
    return next((folder for folder in folders if is_own(folder)), "")


def shared_place(config: Settings) -> str:
    """DBT_MANIFEST_CACHE where others can write to it, else an empty text."""
    place = config.manifest_cache
    return place if place and ("://" in place or not is_own(place)) else ""


def own_copy(place: str) -> str:
    """The folder of this user for what is at that place."""
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    return str(Path(tempfile.gettempdir(), f"dbt-parsed-{os.getuid()}-{name}"))


def is_own(folder: str) -> bool:
    """Whether only this user can enter the folder, which is made if it is missing."""
    try:
        with store.opened(folder):
            return os.access(folder, os.W_OK)
    except (OSError, store.Unusable):
        return False


def fetch(place: str) -> None:
    """Copies the newest files from the shared place that are not here, if they are signed."""
    try:
        with store.opened(own_copy(place)) as own:
            here = set(store.names(own))
            for file in newest_first(place)[: store.KEPT]:
                if file.name not in here and (content := verified(file.name, file.read_bytes())):
                    store.write(own, file.name, content, store.SHARED)
    except Exception as error:  # whatever a store's own client raises
        log.warning("No parsed manifest is read from %s: %s", place, error)


def publish(place: str) -> None:
    """Copies the files to the shared place that this machine has made, and removes the oldest."""
    try:
        with store.opened(own_copy(place)) as own:
            new = [name for name in store.names(own) if is_new(own, name)]
            for name in new:
                content = store.read(own, name)
                target = root(place)
                target.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(sign(content) + content)
                os.chmod(name, store.SHARED, dir_fd=own)
            for file in newest_first(place)[store.KEPT :] if new else ():
                file.unlink()
    except Exception as error:
        log.warning("No parsed manifest is written to %s: %s", place, error)


def is_new(own: int, name: str) -> bool:
    """Whether a process of this machine has made the file since the last `publish`."""
    return stat.S_IMODE(os.stat(name, dir_fd=own).st_mode) == store.NEW


def root(place: str) -> Any:
    from airflow.sdk import ObjectStoragePath  # slow to import

    return ObjectStoragePath(place if "://" in place else f"file://{place}")


def newest_first(place: str) -> list[Any]:
    """The files at the shared place."""
    folder = root(place)
    if not folder.exists():
        return []
    files = [file for file in folder.iterdir() if file.name.endswith(store.SUFFIX)]
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)


def sign(content: bytes) -> bytes:
    """Raises RuntimeError if Airflow has no fernet key."""
    return hmac.digest(next(signing_keys()), content, "sha256")


def verified(name: str, signed: bytes) -> bytes:
    """The content of a signed file; of any other, a line in the log and no content."""
    content = signed[SIGNATURE:]
    for key in signing_keys():
        if hmac.compare_digest(hmac.digest(key, content, "sha256"), signed[:SIGNATURE]):
            return content
    log.warning(
        "Ignores the parsed manifest %s: it is not signed by a worker of this Airflow", name
    )
    return b""


def signing_keys() -> Iterator[bytes]:
    """A key for each of Airflow's fernet keys, the newest first. Raises RuntimeError for none."""
    from airflow.sdk.configuration import conf

    fernet_keys = [key.strip() for key in conf.get("core", "fernet_key", fallback="").split(",")]
    if not any(fernet_keys):
        raise RuntimeError("Airflow has no fernet key ([core] fernet_key) to sign it with")
    return (hmac.digest(key.encode(), PURPOSE, "sha256") for key in fernet_keys if key)
