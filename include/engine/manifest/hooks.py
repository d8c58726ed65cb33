"""Which packages have hooks that share memory with nodes.

Some objects of dbt live as long as a command: what a hook puts into `graph`, a test or another hook
of the same command finds there. Such hooks have to run in the process of each command. It is
decided by what Jinja reads: in the text of the hook, and in the macros that it reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension

LIVING = frozenset(("graph", "selected_resources", "dbt_metadata_envs"))
"""The objects of dbt's context that are the same for all of a command (dbt-core: context/)."""

# The keys that dbt itself puts into `graph` (dbt-core: Manifest.build_flat_graph).
SECTIONS = frozenset(
    (
        *("exposures", "functions", "groups", "macros", "metrics", "nodes", "sources"),
        *("saved_queries", "semantic_models", "unit_tests"),
    )
)
CHANGES = frozenset(
    (
        *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"),
        *("reverse", "setdefault", "sort", "update"),
    )
)
LOOKUPS = frozenset(("get", "setdefault"))
METHODS = CHANGES | LOOKUPS | {"copy", "items", "keys", "values"}


class Blocks(Extension):
    """The blocks that dbt adds to Jinja, as plain statements."""

    tags: ClassVar[set[str]] = {"materialization", "test", "data_test", "snapshot", "docs"}

    def parse(self, parser: Any) -> list[nodes.Node]:
        tag = next(parser.stream).value
        while parser.stream.current.type != "block_end":
            next(parser.stream)
        ends = (f"name:end{tag}", "name:endtest")
        return parser.parse_statements(ends, drop_needle=True)


JINJA = Environment(extensions=["jinja2.ext.do", Blocks])


def parse(text: str) -> nodes.Template:
    """The tree of a template; an empty one where only dbt can read it."""
    try:
        return JINJA.parse(text)
    except TemplateSyntaxError:
        return nodes.Template([])


def sharing_packages(raw: Mapping[str, Any]) -> frozenset[str]:
    """The packages with a hook that shares memory with nodes; `raw` is a decoded manifest."""
    hooks = [node for node in (raw.get("nodes") or {}).values() if is_hook(node)]
    if not hooks:
        return frozenset()
    macros = raw.get("macros") or {}
    project = (raw.get("metadata") or {}).get("project_name") or ""
    trees: dict[str, nodes.Template] = {}
    sharing = set()
    for hook in hooks:
        if hook["package_name"] in sharing:
            continue
        tree = parse(hook.get("raw_code") or "")
        reached = reach(macros, called_macros(tree, hook, project))
        for key in reached - trees.keys():
            trees[key] = parse(macros[key].get("macro_sql") or "")
        if shares_memory([tree, *(trees[key] for key in sorted(reached))]):
            sharing.add(hook["package_name"])
    return frozenset(sharing)


def with_each_command(asked: str, sharing: Iterable[str]) -> tuple[str, ...]:
    """The packages whose hooks run with each command, sorted: those that the setting asks for."""
    if asked == "auto":
        return tuple(sorted(sharing))
    return tuple(sorted({name.strip() for name in asked.split(",")} - {"", "none"}))


def once_per_run(raw: Mapping[str, Any], asked: str) -> list[str]:
    """The unique ids of the hooks that have tasks of their own."""
    each = with_each_command(asked, sharing_packages(raw))
    members = raw["nodes"].items()
    return [key for key, node in members if is_hook(node) and node["package_name"] not in each]


def is_hook(node: Mapping[str, Any]) -> bool:
    """Whether it is an on-run-start or on-run-end hook."""
    return node.get("resource_type") == "operation"


def called_macros(tree: nodes.Template, hook: Mapping[str, Any], project: str) -> set[str]:
    """The unique ids of macros that a hook may call.

    dbt lists those that it came to when it parsed the hook: none behind `if execute`.
    """
    called = set((hook.get("depends_on") or {}).get("macros") or ())
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name):
            packages = {hook["package_name"], project}
            called |= {f"macro.{package}.{call.node.name}" for package in packages}
        elif isinstance(call.node, nodes.Getattr) and isinstance(call.node.node, nodes.Name):
            called.add(f"macro.{call.node.node.name}.{call.node.attr}")
    return called


def reach(macros: Mapping[str, Any], called: Iterable[str]) -> set[str]:
    """The unique ids of these macros, and of those that they call."""
    reached, todo = set(), list(called)
    while todo:
        key = todo.pop()
        if key in macros and key not in reached:
            reached.add(key)
            todo += (macros[key].get("depends_on") or {}).get("macros") or ()
    return reached


def shares_memory(trees: Iterable[nodes.Template]) -> bool:
    """Whether one of these templates changes a living object, or looks for what dbt never puts
    there.
    """
    trees = list(trees)
    changing = {name for tree in trees for name in macros_that_change_an_argument(tree)}
    for tree in trees:
        names = LIVING | aliases(tree, LIVING)
        if any(changes(call, names) for call in tree.find_all(nodes.Call)):
            return True
        if any(section not in SECTIONS for section in sections_read(tree)):
            return True
        for call in tree.find_all(nodes.Call):
            given = (*call.args, *(keyword.value for keyword in call.kwargs))
            if called_name(call) in changing and any(root(part) in names for part in given):
                return True
    return False


def macros_that_change_an_argument(tree: nodes.Template) -> Iterator[str]:
    for macro in tree.find_all(nodes.Macro):
        arguments = frozenset(argument.name for argument in macro.args)
        names = arguments | aliases(macro, arguments)
        if any(changes(call, names) for call in macro.find_all(nodes.Call)):
            yield macro.name


def aliases(tree: nodes.Node, names: frozenset[str]) -> frozenset[str]:
    """The variables that a template sets to one of the objects `names`, or to a part of it."""
    found: set[str] = set()
    assignments = [a for a in tree.find_all(nodes.Assign) if isinstance(a.target, nodes.Name)]
    for _ in assignments:  # a variable may stand for another one
        found |= {a.target.name for a in assignments if root(a.node) in names | found}
    return frozenset(found)


def changes(call: nodes.Call, names: Iterable[str]) -> bool:
    """Whether it calls a method that changes one of these objects, or a part of it."""
    method = call.node
    return (
        isinstance(method, nodes.Getattr) and method.attr in CHANGES and root(method.node) in names
    )


def root(part: nodes.Node) -> str:
    """The name of the object that an expression is, or is a part of; "" of any other."""
    while not isinstance(part, nodes.Name):
        if isinstance(part, nodes.Call):
            method = part.node
            if not isinstance(method, nodes.Getattr) or method.attr not in LOOKUPS:
                return ""
            part = method.node
        elif isinstance(part, (nodes.Getattr, nodes.Getitem)):
            part = part.node
        else:
            return ""
    return part.name


def called_name(call: nodes.Call) -> str:
    return getattr(call.node, "attr", getattr(call.node, "name", ""))


def sections_read(tree: nodes.Template) -> Iterator[str]:
    """The keys of `graph` that a template names."""
    for part in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Call)):
        key: object = None
        if isinstance(part, nodes.Call):
            if isinstance(part.node, nodes.Getattr) and part.node.attr in LOOKUPS and part.args:
                key = is_graph(part.node.node) and getattr(part.args[0], "value", None)
        elif isinstance(part, nodes.Getitem):
            key = is_graph(part.node) and getattr(part.arg, "value", None)
        elif is_graph(part.node) and part.attr not in METHODS:
            key = part.attr
        if isinstance(key, str):
            yield key


def is_graph(part: nodes.Node) -> bool:
    return isinstance(part, nodes.Name) and part.name == "graph"
