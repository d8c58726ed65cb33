"""What Jinja reads while dbt parses that is another for each command: time, ids and flags.

Where it decides on a configuration, a name or a dependency, a manifest is good for one command
only. All else in a template does no harm: dbt renders hooks and the SQL of a node late, and what
is no expression of Jinja's (the word in a column's name) is not read at all.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from dbt.contracts.graph.manifest import Manifest
from dbt_common.clients.jinja import get_environment
from jinja2 import nodes

# These flags are a part of what a manifest is cached for (manifest_cache.context_digest).
FLAGS = (
    "WARN_ERROR", "WARN_ERROR_OPTIONS", "FULL_REFRESH", "STATIC_PARSER", "USE_EXPERIMENTAL_PARSER",
    "MAXIMUM_SEED_SIZE_MIB",
)  # fmt: skip
WORDS = ("run_started_at", "invocation_id", "invocation_args_dict", "dbt_metadata_envs")
HINT = re.compile(rf"\b({'|'.join(WORDS)}|flags|modules)\b")
SINKS = ("config", "ref", "source", "metric")
HOOKS = ("pre-hook", "post-hook", "pre_hook", "post_hook")
NAMING = ("generate_alias_name", "generate_database_name", "generate_schema_name")


def volatile_word(manifest: Manifest) -> str:
    """Which node or macro reads what while it is parsed; an empty text if none does."""
    macros = {key: macro for key, macro in manifest.macros.items() if HINT.search(macro.macro_sql)}
    readers = {macro.name: word for macro in macros.values() if (word := read_in(macro.macro_sql))}
    above = callers(manifest, {key for key, macro in macros.items() if macro.name in readers})
    for key in above:
        readers.setdefault(manifest.macros[key].name, "a macro that reads such a word")
    for key in above:
        if manifest.macros[key].name.endswith(NAMING):
            return f"{key} reads {readers[manifest.macros[key].name]}"
    deciding = {key for key in above if decided_by(manifest.macros[key].macro_sql, readers)}
    blamed = callers(manifest, deciding)
    for key, node in manifest.nodes.items():
        called = set(node.depends_on.macros)
        if called & blamed:
            return f"{key} calls {min(called & blamed)}, which reads time, ids or flags"
        suspect = HINT.search(node.raw_code) or called & above
        if suspect and (word := decided_by(node.raw_code, readers)):
            return f"{key} reads {word}"
    for key, member in (*manifest.nodes.items(), *manifest.sources.items()):
        for text in templates(member):
            if word := read_in(text, readers):
                return f"the configuration of {key} reads {word}"
    return ""


def callers(manifest: Manifest, called: set[str]) -> set[str]:
    """The unique ids of these macros, and of those that call them, over others or not."""
    callers_of: dict[str, list[str]] = {}
    for key, macro in manifest.macros.items():
        for other in macro.depends_on.macros:
            callers_of.setdefault(other, []).append(key)
    reached, todo = set(), list(called)
    while todo:
        if (key := todo.pop()) not in reached:
            reached.add(key)
            todo += callers_of.get(key, ())
    return reached


def templates(member: object) -> Iterator[str]:
    """The texts in YAML that dbt renders while it parses a node or a source."""
    config = getattr(member, "unrendered_config", None) or {}
    values = [value for key, value in config.items() if key not in HOOKS]
    values += [getattr(member, name, None) for name in ("unrendered_database", "unrendered_schema")]
    while values:
        value = values.pop()
        if isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, (list, tuple)):
            values += value
        # What begins like that is an expression in SQL, as dbt writes it down.
        elif isinstance(value, str) and HINT.search(value) and not value.startswith("Keyword("):
            yield value


def read_in(text: str, readers: Mapping[str, str] | None = None) -> str:
    """The first volatile word that a template reads."""
    return word_in(parse(text), readers or {}, {})


def decided_by(text: str, readers: Mapping[str, str]) -> str:
    """The first volatile word that decides what a template configures or depends on. `readers` are
    the macros that read one.
    """
    tree = parse(text)
    variables = tainted(tree, readers)
    conditions = (
        (block.test if isinstance(block, nodes.If) else block.iter, block)
        for block in tree.find_all((nodes.If, nodes.For))
    )
    for sink in sinks(tree):
        for part in (*sink.args, *sink.kwargs, sink.dyn_args, sink.dyn_kwargs):
            if part and (word := word_in(part, readers, variables)):
                return word
    for condition, block in conditions:
        if any(sinks(block)) and (word := word_in(condition, readers, variables)):
            return word
    return ""


def parse(text: str) -> nodes.Template:
    """The tree of a template, without what `if execute` keeps from being read while dbt parses."""
    tree = get_environment(None).parse(text)
    if not any(name.name == "execute" and name.ctx != "load" for name in tree.find_all(nodes.Name)):
        for block in list(tree.find_all(nodes.If)):
            if needs_execute(block.test):
                block.test, block.body = nodes.Const(False), []
    return tree


def needs_execute(condition: nodes.Node) -> bool:
    """Whether a condition is false while dbt parses: `execute` is, then."""
    if isinstance(condition, nodes.And):
        return needs_execute(condition.left) or needs_execute(condition.right)
    return isinstance(condition, nodes.Name) and condition.name == "execute"


def sinks(tree: nodes.Node) -> Iterable[nodes.Call]:
    """The calls that configure a node, or make it depend on another one."""
    calls = tree.find_all(nodes.Call)
    return (c for c in calls if isinstance(c.node, nodes.Name) and c.node.name in SINKS)


def tainted(tree: nodes.Template, readers: Mapping[str, str]) -> dict[str, str]:
    """The volatile words in variables that a template sets, by the name of the variable."""
    variables: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for block in tree.find_all((nodes.Assign, nodes.AssignBlock, nodes.For)):
            source = block.iter if isinstance(block, nodes.For) else block
            if word := word_in(source, readers, variables):
                for name in names_in(block.target):
                    changed = changed or name not in variables
                    variables.setdefault(name, word)
    return variables


def names_in(tree: nodes.Node) -> Iterator[str]:
    yield from (node.name for node in every(tree) if isinstance(node, nodes.Name))


def every(tree: nodes.Node) -> Iterator[nodes.Node]:
    yield tree
    yield from tree.find_all(nodes.Node)


def word_in(tree: nodes.Node, readers: Mapping[str, str], variables: Mapping[str, str]) -> str:
    """The first volatile word in a part of a template."""
    getters = {}
    for node in every(tree):
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, nodes.Name):
            getters[id(node.node)] = getter_word(node)
    for node in every(tree):
        if isinstance(node, nodes.Call):
            name = getattr(node.node, "attr", getattr(node.node, "name", ""))
            if name in readers:
                return f"{readers[name]} in {name}()"
        if isinstance(node, nodes.Name) and node.ctx == "load":
            if id(node) in getters:
                if getters[id(node)]:
                    return getters[id(node)]
            elif node.name in (*WORDS, "flags", "modules"):
                return node.name
            if node.name in variables:
                return variables[node.name]
    return ""


def getter_word(node: nodes.Getattr | nodes.Getitem) -> str:
    """`flags.x` or `modules.x` where that is volatile, else an empty text or the name itself."""
    name = node.node.name
    field = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", "")
    if name == "flags" and str(field).upper() not in FLAGS:
        return f"flags.{field}"
    if name == "modules" and field in ("datetime", ""):
        return f"modules.{field}"
    return name if name in WORDS else ""
