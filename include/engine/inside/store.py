"""Parsed manifests in files, for the dbt that starts next: a cold one, or another server.

To unpickle is to run code. So a file is read only in a folder that this user alone can enter, and
what comes from elsewhere is checked before it gets there (run/shared_manifests.py). The file's
name begins with a digest of what the manifest was made from (manifest_cache.stored_key). The
environment variables that were asked for are in its head, as digests: they are compared before
anything is unpickled. Standard library only.
"""

import contextlib
import hashlib
import json
import os
import secrets
import stat
import sys
import time
import zlib
from collections.abc import Iterator, Mapping

VARIABLE = "DBT_MANIFEST_CACHE"  # the folder, for dbt's processes
SUFFIX = ".parsed"
NEW, SHARED = 0o600, 0o400  # the mode of a file says whether other machines have it, too
KEPT = 8  # files; those that were longest unused go
DIGEST = 32  # bytes of a file's checksum, before its head and its manifest
UNFINISHED = 3600.0  # seconds after which a file that nobody finished goes
FASTEST = 1


class Unusable(Exception):
    """Why a folder or a file is not used."""


def chosen_folder(environ: Mapping[str, str]) -> str:
    """The absolute path of the folder; an empty text if there is none."""
    path = environ.get(VARIABLE, "")
    return os.path.normpath(path) if os.path.isabs(path) else ""


@contextlib.contextmanager
def opened(folder: str) -> Iterator[int]:
    """A descriptor of the folder, which is made if it is missing: no other can take its place.
    Raises Unusable where others may enter, OSError where it cannot be opened.
    """
    with contextlib.suppress(FileExistsError):
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        os.mkdir(folder, 0o700)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(place)
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise Unusable(f"{folder} is not a folder that only you can enter")
        yield place
    finally:
        os.close(place)


def names(place: int) -> list[str]:
    """The files in an opened folder, the last used first."""
    found = [name for name in os.listdir(place) if name.endswith(SUFFIX)]
    return sorted(found, key=lambda name: -_used(place, name))


def _used(place: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=place).st_mtime_ns
    except OSError:  # another process has removed it
        return 0


def read(place: int, name: str) -> bytes:
    """The content of a file. Raises OSError; Unusable if it is a link or the like."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    with os.fdopen(file, "rb") as opened_file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unusable("it is no file")
        return opened_file.read()


def write(place: int, name: str, content: bytes, mode: int = NEW) -> None:
    """Put a whole file into an opened folder, and remove those that are too many."""
    unfinished = f".{secrets.token_hex(8)}"
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=place)
    try:
        with os.fdopen(file, "wb") as opened_file:
            opened_file.write(content)
        os.rename(unfinished, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.unlink(unfinished, dir_fd=place)
        raise
    _prune(place)


def _prune(place: int) -> None:
    before = (time.time() - UNFINISHED) * 1e9
    left = [name for name in os.listdir(place) if len(name) == 17 and name[0] == "."]
    old = [name for name in left if 0 < _used(place, name) < before]
    for name in (*names(place)[KEPT:], *old):
        with contextlib.suppress(OSError):  # another process has removed it
            os.unlink(name, dir_fd=place)


def save(folder: str, key: str, asked: Mapping[str, str], pickled: bytes) -> None:
    """Leave a pickled manifest for the processes that come later. `asked` are the environment
    variables that it depends on. Raises Unusable and OSError.
    """
    head = {"key": key, "asked": {name: digest(name, value) for name, value in asked.items()}}
    text = json.dumps(head, sort_keys=True).encode()
    rest = len(text).to_bytes(4, "big") + text + zlib.compress(pickled, FASTEST)
    name = f"{key}-{hashlib.sha256(text).hexdigest()[:16]}{SUFFIX}"
    with opened(folder) as place:
        write(place, name, hashlib.sha256(rest).digest() + rest)


def load(folder: str, key: str, value_of) -> tuple[bytes, list[str]] | None:
    """The pickled manifest of that key, and the names of the variables that it asked for; None if
    there is none whose variables have the values that `value_of(name)` returns.
    """
    try:
        with opened(folder) as place:
            for name in names(place):
                if name.startswith(key) and (found := _checked(place, name, key, value_of)):
                    with contextlib.suppress(OSError):  # the folder may be read-only
                        os.utime(name, dir_fd=place)
                    return found
    except (OSError, Unusable) as error:
        complain(folder, error)
    return None


def _checked(place: int, name: str, key: str, value_of) -> tuple[bytes, list[str]] | None:
    try:
        head, packed = split(read(place, name))
        if head["key"] != key:
            raise Unusable("it belongs to another project")
        if any(digest(one, value_of(one)) != was for one, was in head["asked"].items()):
            return None
        return zlib.decompress(packed), list(head["asked"])
    except FileNotFoundError:  # another process has removed it
        return None
    except (OSError, Unusable) as error:
        complain(name, error)
    except Exception:
        complain(name, Unusable("it is damaged"))
    return None


def split(content: bytes) -> tuple[dict, bytes]:
    """The head of a file, and the compressed rest. Raises Unusable if the file is damaged."""
    rest = content[DIGEST:]
    if hashlib.sha256(rest).digest() != content[:DIGEST]:
        raise Unusable("it is damaged")
    end = 4 + int.from_bytes(rest[:4], "big")
    return json.loads(rest[4:end]), rest[end:]


def digest(name: str, value: str) -> str:
    return hashlib.sha256(f"{name}={value}".encode(errors="surrogateescape")).hexdigest()


def complain(what: str, why: Exception) -> None:
    """One line in the log of a command, which parses instead."""
    reason = getattr(why, "strerror", None) or why
    print(f"Ignores the cached manifest {what}: {reason}", file=sys.stderr, flush=True)
