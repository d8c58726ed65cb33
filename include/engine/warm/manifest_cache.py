"""The manifests that are cached, and when one of them is what dbt would parse now.

A wrong answer here is worse than a slow one: a manifest is cached for one state of everything
that parsing depends on.
"""

import contextlib
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import networkx
from dbt import compilation, plugins
from dbt.config import RuntimeConfig
from dbt.constants import DEFAULT_ENV_PLACEHOLDER
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags

CLOCK_NS = 50_000_000  # two changes of a file within one tick of the clock would look like one
FLAGS = "WARN_ERROR WARN_ERROR_OPTIONS FULL_REFRESH STATIC_PARSER USE_EXPERIMENTAL_PARSER"
# What parsing may read that is another for each command. Where it decides on names, a manifest is
# good for one command only.
VOLATILE = re.compile(
    r"\b(run_started_at|invocation_id|invocation_args_dict|dbt_metadata_envs)\b"
    r"|\bmodules\.datetime\b|\bflags\."
)
PROJECT = ("dbt_project.yml", ".dbtignore")
PACKAGES = ("packages.yml", "dependencies.yml", "package-lock.yml")
NAMING = ("generate_alias_name", "generate_database_name", "generate_schema_name")


@dataclass(frozen=True, eq=False)
class Entry:
    """A parsed manifest and what it was made from: the state `files` of what is at `paths`, the
    environment variables that it and its projects `asked` for, and everything else, its `context`.
    """

    context: str
    files: str
    paths: frozenset[str]
    asked: Mapping[str, str]
    manifest: Manifest

    def is_current(self, context: str) -> bool:
        return (
            context == self.context
            and all(os.environ.get(k, DEFAULT_ENV_PLACEHOLDER) == v for k, v in self.asked.items())
            and file_states(self.paths)[0] == self.files
        )

    def supersedes(self, other: "Entry") -> bool:
        return (self.context, self.asked) == (other.context, other.asked)


class Before:
    """The state of a project just before it is parsed."""

    def __init__(self, config: RuntimeConfig, context: str) -> None:
        self.began = time.time_ns()
        self.context = context
        self.project = config.project_name
        projects = config.load_dependencies()
        self.paths = project_paths(config, projects)
        self.files, self.changed = file_states(self.paths)
        self.asked = {k: v for p in projects.values() for k, v in p.project_env_vars.items()}

    def entry(self, manifest: Manifest) -> Entry | None:
        """What to hold of the manifest that was parsed; None if it is good for one command only."""
        if self.changed >= self.began - CLOCK_NS or not is_cacheable(manifest, self.project):
            return None
        asked = self.asked | manifest.env_vars
        return Entry(self.context, self.files, self.paths, asked, manifest)


def context_digest(config: RuntimeConfig) -> str:
    """A digest of what parsing depends on besides files and environment variables.

    That is what dbt compares before it parses partially (ManifestLoader.build_manifest_state_check)
    and what it leaves out there: packages' variables, some flags, threads, which Jinja can see.
    """
    flags = get_flags()
    return _digest(
        config.project_root, config.profile_name, config.target_name, config.to_target_dict(),
        config.cli_vars, config.vars_from_file,
        [str(getattr(flags, name, None)) for name in FLAGS.split()],
    )  # fmt: skip


def file_states(paths: Iterable[str]) -> tuple[str, int]:
    """A digest of the state of every file there, and when the last of them changed.

    The time of a change (ctime) is the system's own: no program can set it back.
    """
    states = sorted(state for path in paths for state in _walk(path))
    return _digest(states), max((state[-1] for state in states), default=0)


def project_paths(config: RuntimeConfig, projects: Mapping[str, RuntimeConfig]) -> frozenset[str]:
    """The files that decide on the projects, and the folders of what dbt reads in them.

    Those of dbt's own packages are a part of dbt, as its code is (protocol.identity). A path that
    ends with a slash stands for the names in a folder.
    """
    found = {os.path.join(config.project_root, name) for name in PACKAGES}
    found.add(os.path.join(config.project_root, config.packages_install_path, ""))
    for project in projects.values():
        if not os.path.realpath(project.project_root).startswith(sys.prefix + os.sep):
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


def is_cacheable(manifest: Manifest, project: str) -> bool:
    """Whether the manifest would be the same for the next command: nothing that differs from one
    command to the next went into a configuration or a name, and no plugin adds nodes of its own.
    """
    members = [*manifest.nodes.values(), *manifest.sources.values()]
    texts = {str(getattr(member, "unrendered_config", "")) for member in members}
    naming = {key for key, macro in manifest.macros.items() if macro.name.endswith(NAMING)}
    called = list(naming)
    while called:
        macro = manifest.macros.get(called.pop())
        if macro:
            texts.add(macro.macro_sql)
            called += set(macro.depends_on.macros) - naming
            naming |= set(macro.depends_on.macros)
    hooks = plugins.get_plugin_manager(project).hooks
    return not hooks.get("get_nodes") and not any(map(VOLATILE.search, texts))


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


def link_graph(manifest: Manifest) -> networkx.DiGraph:
    """The graph that commands select from. Raises dbt's error if it has a cycle."""
    linker = compilation.Linker()
    linker.link_graph(manifest)
    return linker.graph
