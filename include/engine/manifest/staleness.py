"""Whether the dbt project has changed since its manifest was built.

A list of the project's files, as dbt read them, is beside the manifest. A file with the same size
and time counts as unchanged, as in make and git. Another file is read and its digest compared: a
checkout that only gave the files new times is not called changed. Standard library only, because it
also runs where the manifest is built.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# The files that dbt reads (dbt-core: read_files.py). Of a seed it matters only whether it is there:
# dbt reads the rows when it loads the seed, and they do not change the graph.
CONTENT = (".sql", ".py", ".yml", ".yaml", ".md")
PRESENCE = (".csv",)
# Folders that dbt writes, at the top of the project. Packages change with packages.yml.
WRITTEN = frozenset(("target", "logs", "dbt_packages", "dbt_modules"))
# A target folder with any other name, anywhere, holds these files.
WRITTEN_IN_TARGET = frozenset(("partial_parse.msgpack", "semantic_manifest.json"))
# `dbt deps` writes this file from packages.yml, also in a project that does not commit it.
LOCK = "package-lock.yml"
# dbt writes `metadata` first, with an id of the invocation: no two manifests start alike.
HEAD_BYTES = 4096

MEND = (
    "Build it again with `make manifest`, or inside a container with "
    "`python -m include.engine.manifest.build`."
)
TAG = "stale manifest"

Seen = tuple[int, int, str]
"""Size in bytes, time of modification in ns, digest of the content."""


def project_files(project: Path) -> dict[str, Seen]:
    """The project's files as they are now, by path relative to it. To be called before dbt runs."""
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

    [] also if that is unknown: without a project here, or without a list for this manifest.
    """
    try:
        listed = json.loads(list_path(manifest).read_bytes())
        if listed["manifest"] != manifest_digest(manifest):
            return []
        seen, now = listed["files"], dict(files(project))
    except (OSError, ValueError, KeyError):
        return []
    edited = (
        name for name in seen.keys() & now if is_edited(project, name, now[name], *seen[name])
    )
    return sorted({*edited, *(seen.keys() ^ now.keys())})


def notice(changed: Sequence[str], names: int = 3) -> str:
    """Markdown that says what changed and what to do; empty if nothing changed."""
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
    """Whether the file no longer has that size, time and digest."""
    if (now.st_size, now.st_mtime_ns) == (size, modified) or name.endswith(PRESENCE):
        return False
    return now.st_size != size or digest(project / name) != content


def files(project: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file that dbt may read: its path relative to the project, and its status.

    A link to a folder is listed itself. It is followed if it leads out of the project; a folder in
    the project is walked at its own path. So a link to a folder above it has an end.
    """
    yield from _files_below(project, "", {os.path.realpath(project)})


def _files_below(
    project: Path, below: str, walked: set[str]
) -> Iterator[tuple[str, os.stat_result]]:
    """The files below the folder `below`; folders in `walked` are walked elsewhere."""
    with os.scandir(project / below) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    if below and not WRITTEN_IN_TARGET.isdisjoint(entry.name for entry in entries):
        return
    for entry in entries:
        name = below + entry.name
        if entry.name.startswith(".") or entry.name == LOCK:
            continue
        # OSError: a link that leads nowhere, a file that has just gone, a folder of somebody else.
        with contextlib.suppress(OSError):
            if entry.is_dir():
                if entry.is_symlink():
                    yield name, entry.stat(follow_symlinks=False)
                if (below or entry.name not in WRITTEN) and _leads_on(entry, walked):
                    yield from _files_below(project, f"{name}/", walked)
            elif entry.name.endswith(CONTENT + PRESENCE):
                yield name, entry.stat()


def _leads_on(entry: os.DirEntry, walked: set[str]) -> bool:
    """Whether the folder holds files that are in no folder of `walked`. Adds it if it is a link."""
    if not entry.is_symlink():
        return True
    target = os.path.realpath(entry.path)
    if any(os.path.commonpath((target, folder)) in (target, folder) for folder in walked):
        return False
    walked.add(target)
    return True


def digest(file: Path) -> str:
    """A checksum of the file's content; empty where it cannot be read."""
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
    except OSError:
        return ""


def list_path(manifest: Path) -> Path:
    """The file of the list: `manifest.files.json` for `manifest.json`."""
    return manifest.with_suffix(".files.json")


def manifest_digest(manifest: Path) -> str:
    """A digest that no other manifest has. Raises OSError if there is no file."""
    with manifest.open("rb") as file:
        return hashlib.blake2b(file.read(HEAD_BYTES), digest_size=12).hexdigest()
