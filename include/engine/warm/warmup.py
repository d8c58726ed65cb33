"""What the server prepares, so that no command has to: what dbt makes when it is first needed."""

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import FileFinder

import dbt.mp_context
import dbt.task
import events
from dbt.adapters.factory import load_plugin
from dbt.contracts.graph.manifest import Manifest
from dbt_common import behavior_flags
from dbt_common.clients.jinja import template_cache
from dbt_common.dataclass_schema import dbtClassMixin

# Classes of these modules get their readers and writers when they are first used.
MADE_LATE = (
    "dbt.adapters.", "dbt.artifacts.resources.v1.components", "dbt.artifacts.resources.v1.macro",
    "dbt.artifacts.schemas.results", "dbt.artifacts.schemas.run", "dbt.contracts.project",
    "dbt.contracts.selection", "dbt.task.", "dbt_common.helper_types",
)  # fmt: skip
IMPORTED_LATE = (
    "dbt_common.clients.agate_helper", "encodings.utf_8_sig", "google.protobuf.descriptor_pb2",
    "multiprocessing.dummy",
)  # fmt: skip


def prepare() -> None:
    """Import what commands import late, and replace what depends on the installation alone."""
    for module in pkgutil.iter_modules(dbt.task.__path__, "dbt.task."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    # dbt takes only locks from it. Those of "spawn" need a tracker process for each command and
    # leave a semaphore in /dev/shm when they are killed; those of "fork" have no name.
    dbt.mp_context._MP_CONTEXT.get_context = lambda: multiprocessing.get_context("fork")
    pkgutil.iter_importer_modules.register(FileFinder, list_modules)
    behavior_flags.BehaviorFlagRendered._default_source = staticmethod(default_source)
    events.install()


LIST_MODULES = pkgutil.iter_importer_modules.dispatch(FileFinder)
LISTED: dict[tuple[str, str], tuple[int, list[tuple[str, bool]]]] = {}


def list_modules(finder: FileFinder, prefix: str = "") -> list[tuple[str, bool]]:
    """The modules in a folder of sys.path, for pkgutil.iter_modules. dbt lists them all in each
    command, to find its plugins; they are listed again when the folder has changed.
    """
    key = finder.path, prefix
    changed = os.stat(finder.path).st_mtime_ns if os.path.isdir(finder.path) else 0
    if LISTED.get(key, (-1, []))[0] != changed:
        LISTED[key] = changed, list(LIST_MODULES(finder, prefix))
    return LISTED[key][1]


def default_source() -> str:
    """The name of the module that defines a behavior flag: the nearest on the stack."""
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] == behavior_flags.__name__:
        frame = frame.f_back
    return frame.f_globals["__name__"]


def rehearse() -> Iterator[bool]:
    """Fill what dbt remembers within a process, a little at each step. None of it has to be done
    before a command runs: what is missing, or fails here, each command does for itself.
    """
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    from google.protobuf.timestamp_pb2 import Timestamp

    Timestamp().FromJsonString("2000-01-01T00:00:00Z")  # compiles the expression for each event's
    yield True
    from dbt.contracts import project
    from dbt.contracts.selection import SelectorFile

    read = (project.PackageConfig, project.ProfileConfig, project.Project, project.ProjectFlags)
    yield from _check_with((SelectorFile, project.Configuration, *read))
    yield from _read_and_write()
    from dbt.jsonschemas.jsonschemas import project_schema  # dbt 1.11 and later

    project_schema()
    yield True


def rehearse_with(manifest: Manifest) -> Iterator[bool]:
    """The same for what the commands of a manifest need."""
    members = {type(m): m for m in (*manifest.nodes.values(), *manifest.macros.values())}.values()
    configs = {type(member.config) for member in members}
    yield from _check_with({load_plugin(manifest.metadata.adapter_type), *configs})
    yield from _read_and_write()
    for member in members:
        member.to_dict(omit_none=True)
        yield True
    # Where one is used, dbt says what is wrong with it.
    for macro in manifest.macros.values():
        with contextlib.suppress(Exception):
            template_cache.get_node_template(macro)
        yield True


def _check_with(schemas: Iterable[type]) -> Iterator[bool]:
    for checked in schemas:
        checked.json_schema()
        yield True


def _read_and_write() -> Iterator[bool]:
    """Have readers and writers made. These fail on what has no fields; they are made by then."""
    for made in _below(dbtClassMixin):
        if made.__module__.startswith(MADE_LATE):
            with contextlib.suppress(Exception):
                made.from_dict({})
            with contextlib.suppress(Exception):
                made.__new__(made).to_dict(omit_none=True)
            yield True


def _below(base: type) -> Iterator[type]:
    for made in base.__subclasses__():
        yield made
        yield from _below(made)
