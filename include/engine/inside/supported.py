"""Everything in dbt that the warm dbt replaces, and what it uses though it is private.

`mismatch` compares the dbt that is installed with this table before any client is answered. Where
something differs, or where this version of dbt was not tested, commands run cold and say why.
"""

import importlib
import inspect
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from types import SimpleNamespace
from typing import NamedTuple

TESTED = ("1.10", "1.11", "1.12")


class Row(NamedTuple):
    """`name` is `module:attribute`; `shapes` are the signatures, or the types, that were tested."""

    name: str
    shapes: tuple[str, ...]
    why: str
    trial: Callable[[object], object] | None = None  # calls the attribute
    returns: str = ""  # the type that the trial returns


def compile_nothing(compile_graph: Callable) -> object:
    """The graph of an empty project."""
    from dbt.contracts.graph.manifest import Manifest
    from dbt.mp_context import get_mp_context

    with tempfile.TemporaryDirectory() as folder:
        config = SimpleNamespace(project_target_path=folder, args=SimpleNamespace(which="list"))
        compiler = SimpleNamespace(config=config, initialize=lambda: None)
        context = get_mp_context()
        context.get_context = lambda: multiprocessing.get_context("fork")  # see _MP_CONTEXT below
        try:
            return compile_graph(compiler, Manifest(), write=False)
        finally:
            del context.get_context


def run_start(user: Callable) -> object:
    return user(None).run_started_at


REPLACED = (
    Row(
        "dbt.parser.manifest:ManifestLoader.get_full_manifest",
        ("(config, *, file_diff=None, reset=False, write_perf_info=False) -> Manifest",),
        "the manifest comes from memory instead of a parse",
    ),
    Row(
        "dbt.compilation:Compiler.compile",
        (
            "(self, manifest, write=True, add_test_edges=False, catalogs=None) -> Graph",
            "(self, manifest, write=True, add_test_edges=False) -> Graph",
        ),
        "the graph comes from memory, too, and is not searched for cycles again",
        compile_nothing,
        "Graph",
    ),
    Row(
        "dbt.task.runnable:GraphRunnableTask.get_graph_queue",
        ("(self) -> GraphQueue",),
        "a command compiles copies of its nodes, so that its worker can run another command",
    ),
    Row(
        "dbt.task.run:RunTask.get_hooks_by_type",
        ("(self, hook_type) -> List[HookNode]",),
        "the same for hooks; and hooks that have a task of their own do not run with each node",
    ),
    Row(
        "dbt.task.run:RunTask.safe_run_hooks",
        ("(self, adapter, hook_type, extra_context) -> RunStatus",),
        "dbt opens a session with the warehouse at the end, also where there are no hooks",
    ),
    Row(
        "dbt.task.build:BuildTask",
        ("type",),
        "the task of a project's hooks runs them without the nodes",
    ),
    Row(
        "dbt.mp_context:_MP_CONTEXT",
        ("SpawnContext",),
        "locks need no tracker process, which would hold the output of a task open",
    ),
    Row(
        "dbt_common.behavior_flags:BehaviorFlagRendered._default_source",
        ("() -> str",),
        "dbt reads the sources of all frames on its stack, for each flag of an adapter",
        lambda default_source: default_source(),
        "str",
    ),
    Row(
        "dbt_common.events.event_manager:EventManager.fire_event",
        ("(self, e, level=None, node=None, force_warn_or_error_handling=False)",),
        "dbt makes, masks and formats debug events that no log takes",
    ),
)

USED = (
    Row("dbt.parser.manifest:_check_resource_uniqueness", ("(manifest, config)",), "warns"),
    Row(
        "dbt.parser.manifest:_warn_for_unused_resource_config_paths",
        ("(manifest, config)",),
        "warns",
    ),
    Row("dbt.contracts.graph.manifest:Manifest.write", ("(self, path)",), "overridden"),
    Row("dbt.task.build:BuildTask._runtime_initialize", ("(self)",), "overridden"),
    Row("dbt.task.build:BuildTask.execute_nodes", ("(self)",), "overridden"),
    Row("dbt.compilation:Compiler.initialize", ("(self)",), "makes the target folder"),
    Row(
        "dbt.compilation:_generate_stats",
        ("(manifest, catalogs=None) -> Dict", "(manifest) -> Dict"),
        "says what was found",
    ),
    Row("dbt.compilation:print_compile_stats", ("(stats)",), "says what was found"),
    Row("dbt.compilation:Linker.link_graph", ("(self, manifest)",), "makes the graph"),
    Row("dbt.graph.queue:GraphQueue.get_selected_nodes", ("(self) -> Set",), "names the nodes"),
    Row("dbt.deprecations:reset_deprecations", ("()",), "forgets a command"),
    Row("dbt_common.events.functions:reset_metadata_vars", ("()",), "forgets a command"),
    Row(
        "dbt.selected_resources:set_selected_resources",
        ("(selected_resources)",),
        "forgets a command",
    ),
    Row(
        "dbt_common.events.event_manager_client:cleanup_event_logger",
        ("()",),
        "forgets a command",
    ),
    Row("dbt_common.events.logger:PRINT_EVENT_NAMES", ("tuple",), "are printed at any level"),
    Row("dbt.adapters.factory:FACTORY", ("AdapterContainer",), "cancels queries"),
    Row("dbt_common.invocation:_INVOCATION_ID", ("str",), "one id for all of a DAG run"),
    Row("dbt.tracking:User", ("type",), "has the time of a run", run_start, "datetime"),
)
WITHOUT_SERVER = (
    "dbt.parser.manifest:ManifestLoader.get_full_manifest",
    "dbt_common.invocation:_INVOCATION_ID",
    "dbt.tracking:User",
    "dbt.task.run:RunTask.get_hooks_by_type",
    "dbt.task.run:RunTask.safe_run_hooks",
    "dbt.task.build:BuildTask",
    "dbt.task.build:BuildTask._runtime_initialize",
    "dbt.task.build:BuildTask.execute_nodes",
    "dbt.selected_resources:set_selected_resources",
)


def mismatch(rows: Iterable[Row] = (*REPLACED, *USED)) -> str:
    """Why commands have to run cold with this dbt; an empty text if nothing is in the way."""
    installed = version("dbt-core")
    if ".".join(installed.split(".")[:2]) not in TESTED:
        return f"dbt-core {installed} was not tested with the warm dbt ({', '.join(TESTED)} were)"
    for row in rows:
        try:
            attribute = resolve(row.name)
            found = shape(attribute)
            if found in row.shapes and row.trial:
                returned = type(row.trial(attribute)).__name__
                found = found if returned == row.returns else f"{found}, returning {returned}"
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found not in row.shapes:
            return f"{row.name} of dbt-core {installed} is not as it was when tested: {found}"
    return ""


def cold_mismatch() -> str:
    """The same for what a cold command replaces: which hooks it runs, and the time of its run."""
    return mismatch(row for row in (*REPLACED, *USED) if row.name in WITHOUT_SERVER)


def resolve(name: str) -> object:
    module, _, path = name.partition(":")
    value = importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return value


def shape(value: object) -> str:
    """The signature of a function without its annotations, but for what it returns; the type of
    anything else.
    """
    if not inspect.isroutine(value):
        return type(value).__name__ if not isinstance(value, type) else "type"
    signature = inspect.signature(value)
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    text = str(inspect.Signature(bare))
    if signature.return_annotation in (signature.empty, None, "None"):
        return text
    return f"{text} -> {type_name(signature.return_annotation)}"


def type_name(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, "__name__", "") or str(annotation)
