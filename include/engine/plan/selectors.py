r"""The `--select` text that picks exactly given nodes, for any name that dbt allows.

A name that is in no other candidate's path is written as a person would write it: `orders`. Any
other name is written as a glob of its whole path, `fqn:[s]hop.marts.orders`. The wildcard `[s]`
matters: dbt matches a path without a wildcard as a prefix, and `marts` would pick a folder, too.
dbt's rules: dbt-core, graph/selector_methods.py (is_selected_node) and graph/cli.py (parse_union).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from include.engine.manifest.records import Node

_PLAIN = re.compile(r"[A-Za-z0-9_]+")

# dbt splits the text at spaces and commas, and its parser stops at a line break: a glob cannot
# contain these characters. Each is written as a character class that matches it without containing
# it: everything except the characters around it. The comma lies between "+" and "-".
_SPACE = "[!\x01-\x1f!-\U0010fffd]"
_LINE_BREAK = "[!\x01-\t\x0b-\U0010fffd]"
_COMMA = "[+--]"
_NOT_PLUS_MINUS = "[!+-]"
_DOT = "[--/]"


@dataclass(frozen=True)
class Candidates:
    """The nodes that one dbt command can pick from, indexed.

    `segment_counts` says how many nodes have a path segment (the versions of a model count as one
    node). `paths` has the nodes of a package and a path.
    """

    segment_counts: Mapping[str, int]
    paths: Mapping[tuple[str, str], tuple[Node, ...]]


def candidates(nodes: Iterable[Node]) -> Candidates:
    """The index of `nodes`."""
    segment_counts: Counter[str] = Counter()
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
        segment_counts.update(set(path[1].split(".")))
    return Candidates(segment_counts, paths)


def select(wanted: Iterable[Node], among: Candidates) -> tuple[str, ...]:
    """The arguments that pick exactly `wanted` out of the candidates, and no test."""
    return "--select", *sorted({_short(node, among) or exact(node, among) for node in wanted})


def select_tests(
    wanted: Iterable[Node], among: Candidates, nodes: Mapping[str, Node]
) -> tuple[str, ...]:
    """`select` for tests, also where tests with one name and one file differ only in their parents.

    Such a test is picked by its name and by each of its parents (dbt's eager indirect selection),
    and other tests that match are excluded. dbt cannot tell two tests with the same name, file and
    parents apart: a selection with one of them runs both.
    """
    wanted = tuple(wanted)
    if not _have_namesakes(wanted, among):
        return (*select(wanted, among), "--indirect-selection", "empty")
    picked = {_as_test_of(test, test.parents, nodes) for test in wanted}
    excluded = {
        _as_test_of(other, sorted(set(other.parents) - set(test.parents)), nodes)
        for test in wanted
        for other in _also_matched(test, wanted, among, nodes)
        if not set(other.parents) <= set(test.parents) or _path(other) != _path(test)
    }
    exclude = ("--exclude", *sorted(excluded)) if excluded else ()
    return "--select", *sorted(picked), *exclude, "--indirect-selection", "eager"


def exact(node: Node, among: Candidates) -> str:
    """A glob of the whole path; with the file where another node has the same path."""
    criteria = _whole_path(node)
    same_path = among.paths[_path(node)]
    if any(_file(other) != _file(node) for other in same_path):
        criteria.append(f"file:{_glob(_file(node))}")
    return ",".join(criteria)


def source(node: Node) -> str:
    """The value of `--select` that picks exactly the source table `node`."""
    return f"source:{_glob(node.package)}." + ".".join(
        _glob(part).replace(".", _DOT) for part in node.fqn[-2:]
    )


def _whole_path(node: Node) -> list[str]:
    path = ".".join(node.fqn)
    criteria = [f"fqn:[{path[0]}]{_glob(path[1:])}", f"package:{node.package}"]
    if "," in path:
        criteria.append("fqn:" + _glob(path, comma=_NOT_PLUS_MINUS))
    return criteria


def _short(node: Node, among: Candidates) -> str | None:
    """The name as a person would write it, if that is exact."""
    own = node.fqn[-2:] if node.versioned else node.fqn[-1:]
    if all(map(_PLAIN.fullmatch, own)) and among.segment_counts[own[0]] == 1:
        return ".".join(own)
    return None


def _have_namesakes(tests: Iterable[Node], among: Candidates) -> bool:
    """Whether `exact` would also pick other tests: of the same package, path and file."""
    own = {test.unique_id for test in tests}
    return any(
        other.unique_id not in own and _file(other) == _file(test)
        for test in tests
        for other in among.paths[_path(test)]
    )


def _as_test_of(test: Node, parents: Iterable[str], nodes: Mapping[str, Node]) -> str:
    """The selector of a test by its own path and by the paths of `parents`. Each comes with its
    file: a test may have the name of a model, but then their files differ.
    """
    criteria: dict[str, None] = {}
    for node in (test, *(nodes[parent] for parent in parents)):
        if node.resource_type == "source":
            criteria[source(node)] = None
        else:
            criteria |= dict.fromkeys((*_whole_path(node), f"file:{_glob(_file(node))}"))
    return ",".join(criteria)


def _also_matched(
    test: Node, wanted: Iterable[Node], among: Candidates, nodes: Mapping[str, Node]
) -> Iterator[Node]:
    """The tests that the selector of `test` matches, too, without being wanted.

    A selector matches a test by the path and file of the test itself, or of a node that it tests.
    """
    own = {node.unique_id for node in wanted}

    def paths_and_files(node: Node) -> set[tuple[str, str]]:
        matched = (node, *(nodes[parent] for parent in node.parents))
        return {key for one in matched for key in (_path(one), ("", _file(one)))}

    needed = paths_and_files(test)
    for tests in among.paths.values():
        yield from (t for t in tests if t.unique_id not in own and needed <= paths_and_files(t))


def _path(node: Node) -> tuple[str, str]:
    return node.package, ".".join(node.fqn)


def _file(node: Node) -> str:
    return PurePosixPath(node.path).name


def _glob(text: str, comma: str = _COMMA) -> str:
    """A glob that matches exactly `text`, with nothing special to dbt or Jinja in it."""
    return "".join(_character(char, comma) for char in text)


def _character(char: str, comma: str) -> str:
    if char.isalnum() or char in "._-/":
        return char
    if char in " \n,":
        return {" ": _SPACE, "\n": _LINE_BREAK, ",": comma}[char]
    return f"[{char}]" if char not in "!^]" else char
