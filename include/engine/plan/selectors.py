r"""The `--select` text that picks exactly given nodes, for any name that dbt allows.

A name that no other candidate has anywhere in its path is written as a person would write it:
`orders`. Any other is written as an anchored glob of its whole path, `fqn:[s]hop.marts.orders`:
without a wildcard dbt matches a path as a prefix, so that `marts` would pick a folder too. Rules of
dbt's own: dbt-core, graph/selector_methods.py (is_selected_node) and graph/cli.py (parse_union).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from include.engine.manifest.records import Node

_PLAIN = re.compile(r"[A-Za-z0-9_]+")

# Characters that a glob cannot hold inside a class of their own: dbt splits the text at spaces and
# commas, and its parser stops at a line break. Each stands as a class that does not contain it
# literally: all but what is around it; the comma lies between "+" and "-".
_SPACE = "[!\x01-\x1f!-\U0010fffd]"
_LINE_BREAK = "[!\x01-\t\x0b-\U0010fffd]"
_COMMA = "[+--]"
_NOT_PLUS_MINUS = "[!+-]"
_DOT = "[--/]"


@dataclass(frozen=True)
class Candidates:
    """The nodes that one dbt command can pick from, indexed: `owners` counts the nodes that have a
    path segment (the versions of a model are one), `paths` has the nodes of a package and path.
    """

    owners: Mapping[str, int]
    paths: Mapping[tuple[str, str], tuple[Node, ...]]


def candidates(nodes: Iterable[Node]) -> Candidates:
    """The index of `nodes`."""
    owners: Counter[str] = Counter()
    paths = defaultdict(list)
    versioned = set()
    for node in nodes:
        path = _path(node)
        paths[path].append(node)
        if node.versioned:
            path = node.package, ".".join(node.fqn[:-1])
            if path in versioned:
                continue
            versioned.add(path)
        owners.update(set(path[1].split(".")))
    return Candidates(owners, paths)


def select(wanted: Iterable[Node], among: Candidates) -> tuple[str, ...]:
    """The arguments that pick exactly `wanted`, and no test beside them, out of the candidates."""
    return "--select", *sorted({_short(node, among) or exact(node, among) for node in wanted})


def select_tests(
    wanted: Iterable[Node], among: Candidates, nodes: Mapping[str, Node]
) -> tuple[str, ...]:
    """`select` for tests, also where tests of one name differ in nothing but what they test.

    A test is then picked as that name among the tests of each of its parents (dbt's eager indirect
    selection), and what else answers to that is excluded. Two tests of one name, one file and the
    same parents cannot be told apart by dbt: a selection that leaves one of them out runs both.
    """
    wanted = tuple(wanted)
    if not _have_rivals(wanted, among):
        return (*select(wanted, among), "--indirect-selection", "empty")
    picked = {_as_test_of(test, test.parents, nodes) for test in wanted}
    excluded = {
        _as_test_of(other, sorted(set(other.parents) - set(test.parents)), nodes)
        for test in wanted
        for other in _besides(test, wanted, among, nodes)
        if not set(other.parents) <= set(test.parents) or _path(other) != _path(test)
    }
    exclude = ("--exclude", *sorted(excluded)) if excluded else ()
    return "--select", *sorted(picked), *exclude, "--indirect-selection", "eager"


def exact(node: Node, among: Candidates) -> str:
    """An anchored glob of the whole path, and the file where two paths read the same."""
    criteria = _anchored(node)
    alike = among.paths[_path(node)]
    if len(alike) > 1 and any(_file(other) != _file(node) for other in alike):
        criteria.append(f"file:{_glob(_file(node))}")
    return ",".join(criteria)


def source(node: Node) -> str:
    """The value of `--select` that picks exactly the source table `node`."""
    return f"source:{_glob(node.package)}." + ".".join(
        _glob(part).replace(".", _DOT) for part in node.fqn[-2:]
    )


def _anchored(node: Node) -> list[str]:
    path = ".".join(node.fqn)
    criteria = [f"fqn:[{path[0]}]{_glob(path[1:])}", f"package:{node.package}"]
    if "," in path:
        criteria.append("fqn:" + _glob(path, comma=_NOT_PLUS_MINUS))
    return criteria


def _short(node: Node, among: Candidates) -> str | None:
    """The name as a person would write it, if that is exact."""
    own = node.fqn[-2:] if node.versioned else node.fqn[-1:]
    if all(map(_PLAIN.fullmatch, own)) and among.owners[own[0]] == 1:
        return ".".join(own)
    return None


def _have_rivals(tests: Iterable[Node], among: Candidates) -> bool:
    """Whether `exact` would pick others besides: of the same package, path and file."""
    own = {test.unique_id for test in tests}
    return any(
        other.unique_id not in own and _file(other) == _file(test)
        for test in tests
        for other in among.paths[_path(test)]
    )


def _as_test_of(test: Node, parents: Iterable[str], nodes: Mapping[str, Node]) -> str:
    """The selector of a test by its path and by those of `parents`, each with its file: a test may
    be called like a model, but then their files differ.
    """
    criteria: dict[str, None] = {}
    for node in (test, *(nodes[parent] for parent in parents)):
        if node.resource_type == "source":
            criteria[source(node)] = None
        else:
            criteria |= dict.fromkeys((*_anchored(node), f"file:{_glob(_file(node))}"))
    return ",".join(criteria)


def _besides(
    test: Node, wanted: Iterable[Node], among: Candidates, nodes: Mapping[str, Node]
) -> Iterator[Node]:
    """The tests that are not wanted and answer to the selector of `test` all the same: a test
    answers to a path or a file by having it or by testing a node that has it.
    """
    own = {node.unique_id for node in wanted}

    def marks(node: Node) -> set[tuple[str, str]]:
        them = (node, *(nodes[parent] for parent in node.parents))
        return {mark for one in them for mark in (_path(one), ("", _file(one)))}

    asked = marks(test)
    for alike in among.paths.values():
        yield from (t for t in alike if t.unique_id not in own and asked <= marks(t))


def _path(node: Node) -> tuple[str, str]:
    return node.package, ".".join(node.fqn)


def _file(node: Node) -> str:
    return PurePosixPath(node.path).name


def _glob(text: str, comma: str = _COMMA) -> str:
    """`text` as a glob of itself alone, without what dbt, Jinja or a glob would read in it."""
    return "".join(_character(char, comma) for char in text)


def _character(char: str, comma: str) -> str:
    if char.isalnum() or char in "._-/":
        return char
    if char in " \n,":
        return {" ": _SPACE, "\n": _LINE_BREAK, ",": comma}[char]
    return f"[{char}]" if char not in "!^]" else char
