"""What a generated dbt project is made of, while it is being made up."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass, field

STORED = ("table", "view", "incremental", "materialized_view")


@dataclass(eq=False)
class Node:
    """A seed, model, snapshot, source table or function; `broken` makes it fail when it runs."""

    kind: str
    name: str
    package: str = "root"
    parents: list[Node] = field(default_factory=list)
    materialized: str = "table"
    folder: str = ""
    config: dict = field(default_factory=dict)
    version: object = None
    latest: object = None
    broken: bool = False
    functions: list[Node] = field(default_factory=list)
    number: int = 0
    pin: bool = True
    extra: dict = field(default_factory=dict)

    @property
    def ephemeral(self) -> bool:
        return self.kind == "model" and self.materialized == "ephemeral"

    def ref(self, package: str) -> str:
        """The Jinja call that names this node from a file of `package`."""
        if self.kind == "source":
            return f"source({_quote(self.extra['source'])}, {_quote(self.name)})"
        call = "function" if self.kind == "function" else "ref"
        where = "" if package == self.package else f"{_quote(self.package)}, "
        version = "" if self.version is None or not self.pin else f", v={json.dumps(self.version)}"
        return f"{call}({where}{_quote(self.name)}{version})"


@dataclass
class Check:
    """A data test of `on` (and `others`) that finds `rows` rows, or that cannot run (`broken`).

    `template` is the generic test it comes from; a singular test has the template "".
    """

    on: list[Node]
    template: str = "outcome"
    name: str | None = None
    rows: int = 0
    broken: bool = False
    config: dict = field(default_factory=dict)
    package: str = "root"
    folder: str = ""
    column: str | None = None


@dataclass
class Unit:
    """A unit test of `model` that passes unless `wrong`."""

    name: str
    model: Node
    wrong: bool = False


class Project:
    """The nodes and tests of a project while it is being made up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.nodes: list[Node] = []
        self.checks: list[Check] = []
        self.units: list[Unit] = []
        self.packages = ["root"]
        self.exposures: list[dict] = []
        self.groups: list[str] = []
        self.selectors: list[dict] = []
        self.count = itertools.count(1)
        self.subset: list[str] = []
        self.unit_tests = False
        self.faults: list[str] = []

    def add(self, kind: str, name: str | None = None, parents=(), **more) -> Node:
        number = next(self.count)
        name = name or f"{kind[0]}{number}"
        node = Node(kind, name, parents=list(parents), number=number, **more)
        if any(_same(node, other) for other in self.nodes):
            node.name = f"{name}{number}"  # dbt refuses two of one name in a package
        if kind in ("seed", "model", "snapshot", "function") and not _plain(node.name):
            node.config.setdefault("alias", f"r{number}")
        self.nodes.append(node)
        return node

    def model(self, *parents: Node, name: str | None = None, mat: str = "", **more) -> Node:
        mat = mat or self.random.choice(STORED)
        return self.add("model", name, parents, materialized=mat, **more)

    def source(self, name: str | None = None, source: str = "raw", **more) -> Node:
        return self.add("source", name, extra={"source": source, **more.pop("extra", {})}, **more)

    def check(self, *on: Node, template: str | None = None, **more) -> Check:
        template = template if template is not None else ("outcome" if len(on) == 1 else "agrees")
        more.setdefault("package", on[0].package if on else "root")
        check = Check(list(on), template, **more)
        if any(_same_test(check, other) for other in self.checks):
            check.name = f"{check.name or 'repeated'}{next(self.count)}"
        self.checks.append(check)
        return check

    def singular(self, *on: Node, **more) -> Check:
        more.setdefault("name", f"singular_{next(self.count)}")
        return self.check(*on, template="", **more)

    def package(self) -> str:
        self.packages.append(name := f"pack{len(self.packages)}")
        return name

    def some(self, kinds=("seed", "model", "snapshot", "source"), least: int = 1, most: int = 3):
        """A few nodes of what there is, in the order in which they were added."""
        among = [n for n in self.nodes if n.kind in kinds and n.config.get("enabled", True)]
        among = [n for n in among if n.package == "root"]
        count = min(len(among), self.random.randint(least, most))
        return sorted(self.random.sample(among, count), key=lambda node: node.number)


def _same(one: Node, other: Node) -> bool:
    """Whether dbt takes them for the same; only versions may share a name."""
    if (one.kind == "source") != (other.kind == "source") or one.package != other.package:
        return False
    if one.name != other.name or one.extra.get("source") != other.extra.get("source"):
        return False
    return one.version is None or one.version == other.version


def _same_test(one: Check, other: Check) -> bool:
    if not one.template or not other.template:
        return one.template == other.template and one.name == other.name
    on_the_same = one.on[0] is other.on[0] and one.column == other.column
    if one.name or other.name:
        return on_the_same and one.name == other.name
    return on_the_same and one.template == other.template and one.on == other.on


def _quote(name: str) -> str:
    # dbt's static parser does not unescape: no escapes, the quote that the name does not have.
    return f"'{name}'" if "'" not in name else f'"{name}"'


def _plain(name: str) -> bool:
    return '"' not in name and len(name.encode()) <= 50 and name.isprintable() and "%" not in name
