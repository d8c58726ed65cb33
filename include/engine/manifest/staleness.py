"""Whether the dbt project still is what its manifest was built from.

Beside the manifest lies a list of the project's files as dbt read them. A file of the same size and
time is taken to be the same, as make and git take it; any other is read. So an untouched project is
walked but not read, and a checkout that only gave the files new times is not called changed.
Standard library only: it runs where the manifest is built, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# What dbt reads of a project (dbt-core: read_files.py). Of a seed only that it is there: its rows
# are read when it is loaded, and make no difference to the graph.
CONTENT = (".sql", ".py", ".yml", ".yaml", ".md")
PRESENCE = (".csv",)
# What dbt writes, at the top of the project. Packages change with packages.yml, which is read.
WRITTEN = frozenset(("target", "logs", "dbt_packages", "dbt_modules"))
# What `dbt deps` writes out of packages.yml, also where nobody committed it.
LOCK = "package-lock.yml"
# What a target folder of any other name holds.
PARTIAL_PARSE = "partial_parse.msgpack"
# dbt writes `metadata` first, with an id of the invocation: the head tells manifests apart.
HEAD_BYTES = 4096

MEND = (
    "Build it anew with `make manifest`, or inside a container with "
    "`python -m include.engine.manifest.build`."
)
TAG = "stale manifest"

Seen = tuple[int, int, str]
"""Size in bytes, time of modification in ns, digest of the content."""


def project_files(project: Path) -> dict[str, Seen]:
    """The project's files as they are, by path relative to it. Taken before dbt reads them."""
    return {
        name: (stat.st_size, stat.st_mtime_ns, digest(project / name))
        for name, stat in files(project)
    }


def write_list(manifest: Path, seen: Mapping[str, Seen]) -> None:
    """Puts the list beside the manifest that was built from these files, replacing an older one."""
    unfinished = list_path(manifest).with_suffix(".new")
    unfinished.write_text(json.dumps({"manifest": manifest_digest(manifest), "files": seen}))
    unfinished.replace(list_path(manifest))


def changed_files(manifest: Path, project: Path) -> list[str]:
    """The files, sorted, that were added, removed or edited since the manifest was built.

    [] too where nothing can be said: no project here, or no list that belongs to this manifest.
    """
    try:
        listed = json.loads(list_path(manifest).read_bytes())
        if listed["manifest"] != manifest_digest(manifest):
            return []
        seen, found = listed["files"], dict(files(project))
    except (OSError, ValueError, KeyError):
        return []
    edited = (n for n in seen.keys() & found if is_edited(project, n, found[n], *seen[n]))
    return sorted({*edited, *(seen.keys() ^ found.keys())})


def notice(changed: Sequence[str], names: int = 3) -> str:
    """Markdown that says what changed and what to do; empty when nothing did."""
    if not changed:
        return ""
    more = f" and {len(changed) - names} more" if len(changed) > names else ""
    return (
        f"\n**This DAG is not of the dbt project as it is now.** Changed since its manifest was "
        f"built: {', '.join(f'`{name}`' for name in changed[:names])}{more}. {MEND}\n"
    )


def is_edited(
    project: Path, name: str, now: os.stat_result, size: int, modified: int, content: str
) -> bool:
    """Whether the file is another now than the one of that size, time and digest."""
    if (now.st_size, now.st_mtime_ns) == (size, modified) or name.endswith(PRESENCE):
        return False
    return now.st_size != size or digest(project / name) != content


def files(project: Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Path relative to the project, and status, of every file that dbt may read."""
    with os.scandir(project / below) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == LOCK:
                continue
            if not entry.is_dir():
                if entry.name.endswith(CONTENT + PRESENCE):
                    yield below + entry.name, entry.stat()
            elif below or not is_written(Path(entry.path)):
                yield from files(project, f"{below}{entry.name}/")


def is_written(folder: Path) -> bool:
    """Whether a folder at the top of the project is dbt's own."""
    return folder.name in WRITTEN or (folder / PARTIAL_PARSE).exists()


def digest(file: Path) -> str:
    """A checksum of the file's content; empty where it cannot be read."""
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
    except OSError:
        return ""


def list_path(manifest: Path) -> Path:
    """Where the list is: `manifest.files.json` for `manifest.json`."""
    return manifest.with_suffix(".files.json")


def manifest_digest(manifest: Path) -> str:
    """What tells this manifest from another, without reading it. Raises OSError without one."""
    with manifest.open("rb") as file:
        return hashlib.blake2b(file.read(HEAD_BYTES), digest_size=12).hexdigest()
