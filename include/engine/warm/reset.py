"""One process for several commands: what dbt would otherwise keep from one to the next.

dbt is made for further invocations in a process (https://docs.getdbt.com/reference/programmatic-invocations)
and begins each with new flags, events, profile, project and adapter. The rest is here: the nodes
that a command compiles belong to that command alone (`adopt`), and what a process remembers of a
command is forgotten (`before_command`, `after_command`). A process is used again only for commands
that leave nothing else (`is_reusable`).
"""

import logging
import os
import pickle
import threading
from collections.abc import Iterable

import networkx
import patches
from dbt import compilation, deprecations, selected_resources
from dbt.adapters.factory import get_adapter
from dbt.config import RuntimeConfig
from dbt.context.query_header import generate_query_header_context
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.graph import Graph
from dbt.graph.queue import GraphQueue
from dbt.parser import manifest as parser
from dbt.task.run import RunTask
from dbt.task.runnable import GraphRunnableTask
from dbt_common.events import functions
from dbt_common.events.event_manager_client import cleanup_event_logger, get_event_manager

COMMANDS = frozenset(("list", "ls", "run", "seed", "snapshot", "test"))
CHECK_NAMES = parser._check_resource_uniqueness
COMPILE = compilation.Compiler.compile
GET_GRAPH_QUEUE = GraphRunnableTask.get_graph_queue
GET_HOOKS = RunTask.get_hooks_by_type


class Adopted:
    """The cached manifest of this command, and its graph; none where dbt has parsed."""

    manifest: Manifest | None = None
    graph: networkx.DiGraph | None = None


def adopt(manifest: Manifest, graph: networkx.DiGraph, config: RuntimeConfig) -> Manifest:
    """A cached manifest as this command's, as dbt has one that it has just parsed."""
    mine = object.__new__(Manifest)
    mine.__dict__.update(manifest.__dict__)
    mine.nodes = dict(manifest.nodes)
    mine.build_flat_graph()  # views of these nodes
    mine.metadata = config.get_metadata()
    mine.selectors = config.manifest_selectors
    adapter = get_adapter(config)
    adapter.set_macro_resolver(mine)
    adapter.connections.set_query_header(generate_query_header_context(adapter.config, mine))
    # That names are unique was found when it was parsed; dbt warns of some that are not.
    named = [(n.package_name, n.name) for n in mine.nodes.values() if n.is_relational]
    unique = len(set(named)) == len(named)
    parser._check_resource_uniqueness = (lambda *_: None) if unique else CHECK_NAMES
    parser._check_manifest(mine, config)
    Adopted.manifest, Adopted.graph = mine, graph
    return mine


def install() -> None:
    compilation.Compiler.compile = compile_graph
    GraphRunnableTask.get_graph_queue = get_graph_queue
    RunTask.get_hooks_by_type = lambda task, kind: [copy_node(h) for h in GET_HOOKS(task, kind)]


def compile_graph(compiler, of, write=True, add_test_edges=False, catalogs=None) -> Graph:
    """Compiler.compile; the graph of a cached manifest is cached, too."""
    # `show --inline` adds its query as a node.
    cached = of is Adopted.manifest and all(key in Adopted.graph for key in of.nodes)
    if not cached or add_test_edges:
        return COMPILE(compiler, of, write, add_test_edges, catalogs)
    compiler.initialize()
    if compiler.config.args.which != "list":
        compilation.print_compile_stats(compilation._generate_stats(of, catalogs))
    return Graph(Adopted.graph)


def get_graph_queue(task: GraphRunnableTask) -> GraphQueue:
    """GraphRunnableTask.get_graph_queue. To compile a node is to change it, and the ephemeral ones
    that it reads: for a cached manifest, copies of them.
    """
    queue = GET_GRAPH_QUEUE(task)
    if task.manifest is Adopted.manifest:
        nodes = task.manifest.nodes
        for key in compiled_nodes(queue.get_selected_nodes(), nodes):
            nodes[key] = copy_node(nodes[key])
    return queue


def compiled_nodes(selected: Iterable[str], nodes: dict) -> set[str]:
    """The unique ids of nodes that are compiled with the selected ones."""
    found, todo = set(), [key for key in selected if key in nodes]
    while todo:
        if (key := todo.pop()) not in found:
            found.add(key)
            above = nodes[key].depends_on_nodes
            todo += [p for p in above if p in nodes and nodes[p].is_ephemeral_model]
    return found


def copy_node(node):
    return pickle.loads(pickle.dumps(node, pickle.HIGHEST_PROTOCOL))


def is_reusable() -> bool:
    """Whether the command that has ended has left nothing that `after_command` does not know of."""
    flags = get_flags()
    alone = threading.active_count() == 2  # the main thread, and the one that listens to the client
    return Adopted.manifest is not None and flags.WHICH in COMMANDS and not flags.DEFER and alone


def before_command() -> None:
    """Let the next command find a process that knows of no other one, and of no environment: the
    server, which prepares much, has one of its own.
    """
    Adopted.manifest = Adopted.graph = None
    deprecations.reset_deprecations()
    functions.reset_metadata_vars()
    selected_resources.set_selected_resources(())
    patches.before_command()


def after_command() -> None:
    """Keep nothing of the command that has ended while there is none to run."""
    os.environ.clear()
    os.chdir("/")
    for logger in get_event_manager().loggers:
        for handler in getattr(logger._python_logger, "handlers", ()):
            if isinstance(handler, logging.FileHandler):
                handler.close()
    cleanup_event_logger()
    patches.after_command()
