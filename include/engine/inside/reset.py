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
from dbt import compilation, deprecations, selected_resources
from dbt.adapters.factory import get_adapter
from dbt.config import RuntimeConfig
from dbt.context.query_header import generate_query_header_context
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.graph import Graph
from dbt.graph.queue import GraphQueue
from dbt.parser import manifest as parser
from dbt.task.runnable import GraphRunnableTask
from dbt_common.events import functions
from dbt_common.events.event_manager_client import cleanup_event_logger, get_event_manager

COMMANDS = frozenset(("list", "ls", "run", "seed", "snapshot", "test"))
COMPILE = compilation.Compiler.compile
GET_GRAPH_QUEUE = GraphRunnableTask.get_graph_queue


class CachedManifest(Manifest):
    """A manifest that a command takes from memory, and does not write."""

    graph = None  # what Compiler.compile makes of it

    def write(self, path: str) -> None:
        pass


class Adopted:
    """The manifest from memory that the command of this process uses; None if dbt has parsed."""

    manifest: CachedManifest | None = None


def adopt(manifest: Manifest, graph: networkx.DiGraph, config: RuntimeConfig) -> Manifest:
    """A cached manifest as the command's own, in the state of one that dbt has just parsed."""
    own = object.__new__(CachedManifest)
    own.__dict__.update(manifest.__dict__)
    own.graph = graph
    own.nodes = dict(manifest.nodes)
    own.build_flat_graph()  # views of these nodes
    own.metadata = config.get_metadata()
    own.selectors = config.manifest_selectors
    adapter = get_adapter(config)
    adapter.set_macro_resolver(own)
    adapter.connections.set_query_header(generate_query_header_context(adapter.config, own))
    # dbt accepts some nodes of one name, and warns each command of them.
    names = [(n.package_name, n.name) for n in own.nodes.values() if n.is_relational]
    if len(set(names)) < len(names):
        parser._check_resource_uniqueness(own, config)
    parser._warn_for_unused_resource_config_paths(own, config)
    Adopted.manifest = own
    return own


def install() -> None:
    compilation.Compiler.compile = compile_graph
    GraphRunnableTask.get_graph_queue = get_graph_queue


def compile_graph(
    compiler, manifest, write=True, add_test_edges=False, *catalogs, **named
) -> Graph:
    """Compiler.compile; the graph of a cached manifest is cached, too."""
    cached = manifest is Adopted.manifest and not add_test_edges
    # `show --inline` adds its query as a node.
    if not cached or not all(key in manifest.graph for key in manifest.nodes):
        return COMPILE(compiler, manifest, write, add_test_edges, *catalogs, **named)
    compiler.initialize()
    if compiler.config.args.which != "list":
        stats = compilation._generate_stats(manifest, *catalogs, *named.values())
        compilation.print_compile_stats(stats)
    return Graph(manifest.graph)


def get_graph_queue(task: GraphRunnableTask) -> GraphQueue:
    """GraphRunnableTask.get_graph_queue. To compile a node is to change it, and the ephemeral ones
    that it reads: of a cached manifest, copies are compiled.
    """
    queue = GET_GRAPH_QUEUE(task)
    if task.manifest is Adopted.manifest:
        nodes = task.manifest.nodes
        for key in compiled_nodes(queue.get_selected_nodes(), nodes):
            nodes[key] = copy_node(nodes[key])
    return queue


def compiled_nodes(selected: Iterable[str], nodes: dict) -> set[str]:
    """The unique ids of nodes that are compiled with the selected ones."""
    compiled, todo = set(), [key for key in selected if key in nodes]
    while todo:
        if (key := todo.pop()) not in compiled:
            compiled.add(key)
            above = nodes[key].depends_on_nodes
            todo += [p for p in above if p in nodes and nodes[p].is_ephemeral_model]
    return compiled


def copy_node(node):
    return pickle.loads(pickle.dumps(node, pickle.HIGHEST_PROTOCOL))


def is_reusable() -> bool:
    """Has the command that ended left nothing but what `after_command` removes?"""
    flags = get_flags()
    alone = threading.active_count() == 2  # the main thread, and the one that hears the client
    return Adopted.manifest is not None and flags.WHICH in COMMANDS and not flags.DEFER and alone


def before_command() -> None:
    """Forget other commands, and the environment in which the server was prepared."""
    Adopted.manifest = None
    deprecations.reset_deprecations()
    functions.reset_metadata_vars()
    selected_resources.set_selected_resources(set())


def after_command() -> None:
    """Keep nothing of the command that has ended while there is none to run."""
    os.environ.clear()
    os.chdir("/")
    for logger in get_event_manager().loggers:
        for handler in getattr(logger._python_logger, "handlers", ()):
            if isinstance(handler, logging.FileHandler):
                handler.close()
    cleanup_event_logger()
