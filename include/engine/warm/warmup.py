"""What the server prepares, so that no command has to: what dbt makes when it is first needed."""

import contextlib
import importlib
import multiprocessing
import pkgutil
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import dbt.mp_context
import dbt.task
import patches
from dbt.adapters.base.query_headers import MacroQueryStringSetter
from dbt.adapters.contracts.connection import QueryComment
from dbt.adapters.factory import load_plugin
from dbt.artifacts.resources.v1.components import Contract
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.project import (
    Configuration,
    PackageConfig,
    ProfileConfig,
    Project,
    ProjectFlags,
)
from dbt.contracts.selection import SelectorFile
from dbt.jsonschemas.jsonschemas import project_schema
from dbt_common.clients.jinja import get_template, template_cache
from dbt_common.dataclass_schema import dbtClassMixin
from google.protobuf.timestamp_pb2 import Timestamp

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
    """Import what the commands import late, and have done what is the same for all of them."""
    for module in pkgutil.iter_modules(dbt.task.__path__, "dbt.task."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    # dbt takes only locks from it. Those of "spawn" need a tracker process for each command and
    # leave a semaphore in /dev/shm when they are killed; those of "fork" have no name.
    dbt.mp_context.get_mp_context().get_context = lambda: multiprocessing.get_context("fork")
    patches.install_in_parent()


def rehearse() -> Iterator[bool]:
    """Fill what dbt remembers within a process, a little at each step. Nothing of it has to be done
    before a command runs: what is missing, each command does for itself.
    """
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    Timestamp().FromJsonString("2000-01-01T00:00:00Z")  # compiles the expression for each event's
    yield True
    schemas = {Configuration, Contract, PackageConfig, ProfileConfig, Project, ProjectFlags}
    yield from _check_with({*schemas, SelectorFile})
    yield from _read_and_write()
    project_schema()
    yield True
    with contextlib.suppress(Exception):  # it compiles, and then finds no target
        MacroQueryStringSetter(SimpleNamespace(query_comment=QueryComment()), {})


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
    for node in manifest.nodes.values():
        with contextlib.suppress(Exception):
            get_template(node.raw_code, {})
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
