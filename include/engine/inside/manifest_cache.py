"""The manifests that are cached, and when one of them is what dbt would parse now.

A wrong answer here is worse than a slow one: a manifest is cached for one state of everything
that parsing depends on.
"""

import contextlib
import functools
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import networkx
import volatile
from dbt import compilation, plugins
from dbt.config import RuntimeConfig
from dbt.constants import DEFAULT_ENV_PLACEHOLDER
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags

CLOCK_NS = 50_000_000  # two changes of a file within one tick of the clock would look like one
PROJECT = ("dbt_project.yml", ".dbtignore")
VENV = os.path.realpath(sys.prefix)
PACKAGES = ("packages.yml", "dependencies.yml", "package-lock.yml")


class NotCacheable(Exception):
    """Why a manifest is good for one command only."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What a manifest was made from: the state `files` of what is at `paths`, the environment
    variables that it and its projects `asked` for, and everything else, its `context`.
    """

    project: str
    context: str
    files: str
    paths: frozenset[str]
    asked: Mapping[str, str]

    def is_current(self, context: str) -> bool:
        return (
            context == self.context
            and all(asked_value(name) == value for name, value in self.asked.items())
            and file_states(self.paths)[0] == self.files
        )

    def supersedes(self, other: "Entry") -> bool:
        return (self.context, self.asked) == (other.context, other.asked)


class Before:
    """The state of a project just before it is parsed."""

    def __init__(self, config: RuntimeConfig, context: str) -> None:
        self.context = context
        self.project = config.project_name
        self.root = config.project_root
        projects = config.load_dependencies()
        self.paths = project_paths(config, projects)
        self.files = settled_states(self.paths)
        self.asked = {k: v for p in projects.values() for k, v in p.project_env_vars.items()}

    @functools.cached_property
    def key(self) -> str:
        """A digest of the same on any machine: contents take the place of states."""
        return _digest(INSTALLATION, self.context, sorted(_contents(self.paths)))[:32]

    def is_unchanged(self) -> bool:
        """Were the files all the time as they were when their contents were read?"""
        return file_states(self.paths)[0] == self.files

    def may_be_cached(self) -> None:
        """Raises NotCacheable where a parse depends on more than what is compared."""
        if not self.files:
            raise NotCacheable("its files are being changed")
        if plugins.get_plugin_manager(self.project).hooks.get("get_nodes"):
            raise NotCacheable("a plugin of dbt adds nodes")

    def parsed(self, manifest: Manifest) -> Entry:
        """What a manifest that dbt has parsed was made from. Raises NotCacheable."""
        self.may_be_cached()
        if word := volatile.volatile_word(manifest):
            raise NotCacheable(word)
        return self.entry(self.asked | manifest.env_vars)

    def entry(self, asked: Mapping[str, str]) -> Entry:
        return Entry(self.root, self.context, self.files, self.paths, asked)


def asked_value(name: str) -> str:
    """What dbt notes of an environment variable that a project asks for."""
    return os.environ.get(name, DEFAULT_ENV_PLACEHOLDER)


def context_digest(config: RuntimeConfig) -> str:
    """A digest of what parsing depends on besides files and environment variables.

    That is what dbt compares before it parses partially (ManifestLoader.build_manifest_state_check)
    and what it leaves out there: packages' variables, some flags, threads, which Jinja can see.
    """
    flags = get_flags()
    return _digest(
        config.project_root, config.profile_name, config.target_name, config.to_target_dict(),
        config.cli_vars, getattr(config, "vars_from_file", None),  # new in dbt 1.12
        [str(getattr(flags, name, None)) for name in volatile.FLAGS],
    )  # fmt: skip


def settled_states(paths: Iterable[str]) -> str:
    """The states of files none of which changed within this tick of the clock. An empty text if
    they do not come to rest.
    """
    for _ in range(20):
        states, changes = file_states(paths)
        now = time.time_ns()
        # Where the clock was set back, earlier changes lie in the future: they are no danger.
        if not any(now - CLOCK_NS <= change <= now for change in changes):
            return states
        time.sleep(CLOCK_NS / 1e9)
    return ""


def file_states(paths: Iterable[str]) -> tuple[str, list[int]]:
    """A digest of the state of every file there, and when each of them changed.

    The time of a change (ctime) is the system's own: no program can set it back.
    """
    states = sorted(state for path in paths for state in _walk(path))
    return _digest(states), [state[-1] for state in states]


def project_paths(config: RuntimeConfig, projects: Mapping[str, RuntimeConfig]) -> frozenset[str]:
    """The files that decide on the projects, and the folders of what dbt reads in them.

    Those of dbt's own packages are a part of dbt, as its code is (protocol.identity). A path that
    ends with a slash stands for the names in a folder.
    """
    found = {os.path.join(config.project_root, name) for name in PACKAGES}
    found.add(os.path.join(config.project_root, config.packages_install_path, ""))
    for project in projects.values():
        if not os.path.realpath(project.project_root).startswith(VENV + os.sep):
            found |= {os.path.join(project.project_root, n) for n in PROJECT}
            for field in fields(project):
                if field.name.endswith("_paths"):
                    paths = getattr(project, field.name)
                    found |= {os.path.join(project.project_root, path) for path in paths}
    return frozenset(found)


def _walk(path: str) -> Iterator[tuple]:
    """(path, inode, size, ctime) of a file, or of a folder and all that is below it."""
    todo = [path]
    while todo:
        path = todo.pop()
        with contextlib.suppress(OSError):
            found = os.stat(path)
            yield path, found.st_ino, found.st_size, found.st_ctime_ns
            if stat.S_ISDIR(found.st_mode) and not path.endswith(os.sep):
                todo += [entry.path for entry in os.scandir(path)]


def _contents(paths: Iterable[str]) -> Iterator[tuple]:
    """(path, digest of the content) of each file, and the names in a folder that ends with a slash.

    Of a seed above the limit dbt reads nothing while it parses.
    """
    limit = getattr(get_flags(), "MAXIMUM_SEED_SIZE_MIB", 1) << 20  # 0: none
    for path, _, size, _ in (state for each in paths for state in _walk(each)):
        if os.path.isdir(path):
            yield path, str(_names(path)) if path.endswith(os.sep) else "folder"
        elif size > limit > 0 and path.endswith(".csv"):
            yield path, "large"
        else:
            yield path, hashlib.sha256(_read(path)).hexdigest()


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


def installation() -> str:
    """A digest of Python, of the packages beside dbt, and of this code."""
    packages = {name for path in sys.path for name in _names(path) if name.endswith(".dist-info")}
    here = os.path.dirname(os.path.abspath(__file__))
    code = [_read(os.path.join(here, name)) for name in _names(here) if name.endswith(".py")]
    return _digest(sys.implementation.cache_tag, sys.version_info[:], VENV, sorted(packages), code)


INSTALLATION = installation()  # as it was when this process imported it


def link_graph(manifest: Manifest) -> networkx.DiGraph:
    """The graph that commands select from. Raises dbt's error if it has a cycle."""
    linker = compilation.Linker()
    linker.link_graph(manifest)
    return linker.graph
