"""What a generated project may hold, each feature a function that adds to it, and the faults."""

from __future__ import annotations

from collections.abc import Callable

from dev.tests.oracle.parts import STORED, Check, Node, Project, Unit

# Names of files that dbt 1.12 takes; see NASTY_TESTS for those that it does not.
NASTY = (
    "a.b", "a-b", "a b", "äöü", "日本", "🙂", "$HOME", "`id`", "a;b", "a&b", "(x)", "[ab]",
    "a*", "a?", "{x}", "a,b", "a+", "+a", "@a", "tag:x", "a#b", "50%", "%s", "!a",
    "a|b", "<a>", "a=b", "a^b", "-a", "--select", "x.sql", "x.csv", "1+x", "null", "A",
    "é", "e\u0301", "a..b", "a,b c", "[!a]", "$(id)", "a  b", "*", "?", "@a+", "fqn:a",
    "a-b.c d", "source:raw", "]a[", "[]", "!", "+", "@", "1", "--",
)  # fmt: skip
# What the `name` of a generic test may hold besides. As the name of a model or a seed dbt 1.12
# refuses these: Jinja in a YAML file ({{x}}, {% x %}); no file is found (~a, .a, control
# characters); its static parser or its generic tests do not escape (\\, ', ", line breaks).
NASTY_TESTS = (
    "a/b", "{{x}}", "{% x %}", "{#x#}", "~a", ".a", "a\\b", 'a"b', "a'b", "a\nb",
    "a\tb", "\x1bz", "a.", " a", "a ", "/", "../a",
)  # fmt: skip
# Names that read the same once a wildcard, a case or a separator is lost.
TWINS = (
    "a b", "a_b", "a.b", "a-b", "A_B", "a?b", "a*b", "[a]b", "ab", "a,b", "a+b", "a",
    "b", "a\u00a0b",
)  # fmt: skip


def graph(p: Project, size: int = 5) -> None:
    """A random graph of models with tests of one and of several parents."""
    for _ in range(size):
        parents = p.some(least=0, most=2)
        p.model(*parents, mat=p.random.choice((*STORED, "ephemeral")))
    for _ in range(p.random.randint(2, 4)):
        p.check(*p.some(most=1))
    for _ in range(p.random.randint(0, 2)):
        p.check(*p.random.sample(on := p.some(least=2), len(on)))


def materializations(p: Project) -> None:
    last = p.model(mat="view")
    for mat in STORED:
        last = p.model(last, mat=mat)
        p.check(last, template="not_null", column="id")


def ephemerals(p: Project) -> None:
    a, b = p.model(mat="table"), p.model(mat="view")
    first = p.model(a, mat="ephemeral")
    second = p.model(first, b, mat="ephemeral")
    third = p.model(second, mat="ephemeral")
    rootless = p.model(mat="ephemeral")
    p.model(third, mat="table")
    p.model(a, mat="table")
    p.model(rootless, mat="table")
    p.model(first, mat="ephemeral")  # a leaf
    for node in (first, second, third, rootless):
        p.check(node)
    p.check(first, a)
    p.check(rootless, b)
    p.singular(second, rootless)


def seeds_snapshots(p: Project) -> None:
    seed = p.add("seed")
    snapshot = p.add("snapshot", None, [seed])
    later = p.add("snapshot", None, [p.model(snapshot)])
    p.model(later, seed)
    for node in (seed, snapshot, later):
        p.check(node)
    p.check(snapshot, seed)


def sources(p: Project) -> None:
    one, two, unread = p.source(), p.source(), p.source(source="other")
    below = p.model(p.model(one), two)
    p.model(below)
    p.check(one)
    p.check(two, template="not_null", column="id")
    p.check(unread)
    p.check(one, two)
    p.check(one, unread)
    p.check(below, one)
    p.check(one, below)


def disabled(p: Project) -> None:
    off = {"enabled": False}
    live = p.model()
    gone = p.model(live, config=dict(off))
    p.check(gone)
    p.check(live, config=dict(off))
    p.check(live, gone)
    p.singular(live, config=dict(off))
    p.add("seed", config=dict(off))
    p.add("snapshot", None, [live], config=dict(off))
    p.check(p.source(config=dict(off)))


def packages(p: Project) -> None:
    one, two = p.package(), p.package()
    trio = []
    for package in (one, two, "root"):
        seed = p.add("seed", "raw_orders", package=package)
        orders = p.model(seed, *trio[-1:], name="orders", package=package)
        p.check(seed, template="not_null", column="id")
        p.check(orders, template="not_null", column="id")
        p.check(orders, name="same_name")
        p.singular(orders, name="same_singular", package=package)
        trio.append(orders)
    p.model(*trio, name="all_orders", folder=one)
    p.check(*trio)
    p.check(trio[2], trio[0])


def versions(p: Project) -> None:
    base = p.model()
    latest = p.random.choice((1, 2))
    old = p.model(base, name="dim", version=1, latest=latest)
    new = p.model(base, old, name="dim", version=2, latest=latest, mat="table")
    odd = p.model(new, name="fact", version="2024-b", latest="2024-b")
    for node in (old, new, odd):
        node.pin = node.version != node.latest or p.random.random() < 0.5
        p.check(node)
        p.check(node, template="not_null", column="id")
    p.model(old, new, odd)
    p.model(base, name="dim_v3")
    p.model(base, name="dim_v", folder="dim")
    p.check(new, old)


def custom_names(p: Project) -> None:
    a = p.model()
    b = p.model(a)
    c = p.model(a, b, mat="ephemeral")
    d = p.model(c)
    for node in (a, b, c, d):
        p.check(node, name="the_same")
    p.check(a, name="the_same", column="id", template="not_null")
    p.check(a, name="the_same", column="v", template="not_null")
    p.check(d, a, name="the_same")
    p.check(b, a, name="again")
    p.check(d, b, name="again")
    p.check(a, name="again")


def singulars(p: Project) -> None:
    a, b = p.model(), p.model()
    c = p.model(a, b)
    d = p.model(c, mat="ephemeral")
    p.model(d)
    p.singular()
    p.singular(a)
    p.singular(a, b)
    p.singular(c, a, b)
    p.singular(d)
    p.singular(d, a, folder="deep/folder")
    p.singular(a, name=c.name)  # named as a model


def relationships(p: Project) -> None:
    left, right = p.add("seed"), p.model()
    low = p.model(left, right)
    lower = p.model(low)
    side = p.model(left)
    for child, parent in ((low, left), (left, low), (lower, right), (side, low), (left, right)):
        p.check(child, parent, template="relationships", column="id")
    p.check(lower, left, side)
    p.check(side, right, low)
    p.model(lower, side)


def severities(p: Project) -> None:
    a = p.model()
    b = p.model(a)
    p.model(b)
    p.check(a, rows=3, config={"severity": "warn"})
    p.check(a, rows=2, config={"error_if": ">2", "warn_if": ">1"})
    p.check(a, rows=2, config={"warn_if": ">2", "error_if": ">2"})
    p.check(b, a, rows=3, config={"severity": "warn", "error_if": ">1"})
    p.check(b, rows=1, config={"severity": "warn", "warn_if": ">5"})


def nasty_models(p: Project) -> None:
    names = p.random.sample(NASTY, 7)
    last: list[Node] = p.some()
    for name in names:
        kind = p.random.choice(("model", "model", "model", "seed"))
        mat = p.random.choice((*STORED, "ephemeral"))
        parents = last if kind == "model" else []
        node = p.add(kind, name, parents, materialized=mat, folder=p.random.choice(("", "sub")))
        p.check(node, name=p.random.choice((None, None, name)))
        last = [node] if p.random.random() < 0.6 else [node, *p.some(most=1)]
        last = list({id(n): n for n in last}.values())
    p.singular(*last)


def nasty_tests(p: Project) -> None:
    a, b = p.model(), p.model()
    c = p.model(a, b)
    for name in p.random.sample(NASTY, 5) + p.random.sample(NASTY_TESTS, 3):
        way = p.random.randrange(4) if name in NASTY else p.random.randrange(1, 4)
        if way == 0:
            p.singular(p.random.choice((a, b, c)), name=name)
        elif way == 1:
            p.check(p.random.choice((a, b)), name=name, column=p.random.choice((None, "id")))
        elif way == 2:
            p.check(c, a, name=name)
        else:
            for node in (a, b, c):
                p.check(node, name=name)


def folders(p: Project) -> None:
    a = p.model(name="orders", folder="orders")
    b = p.model(a, name="items", folder="orders")
    c = p.model(b, name="root", folder="root/orders")
    d = p.model(c, a, name="sub", folder="items")
    names = p.random.sample([n for n in NASTY if n not in ("a", "b")], 3)
    for name in names:
        e = p.model(d, folder=f"{name}/{p.random.choice(('orders', 'x'))}")
        p.check(e)
        p.singular(e, a, folder=name, name=f"orders_{e.name}")
    for node in (a, b, c, d):
        p.check(node, template="not_null", column="id")
    p.singular(a, name="orders", folder="orders")
    p.singular(b, name="t1", folder="orders")
    p.check(d, name="orders")


def long_names(p: Project) -> None:
    a = p.model(name="a_model_whose_name_is_long_enough_for_anything")
    b = p.model(a, name="another_model_whose_name_is_long_enough_too")
    p.model(b, name="m" * 120)
    for node in (a, b):
        p.check(node, template="accepted_values", column="id")
        p.check(node, template="not_null", column="id", config={"alias": f"short_{node.number}"})
        p.check(node, name="n" * 150)
    p.check(b, a, template="agrees")
    p.check(b, a, template="relationships", column="id")
    p.singular(b, name="s" * 130)


def functions(p: Project) -> None:
    a = p.model()
    plain = p.add("function", "plus_one")
    reading = p.add("function", "total_of", [a])
    nested = p.add("function", "nested_one", functions=[plain])
    b = p.model(a, functions=[plain])
    c = p.model(b, functions=[reading, nested])
    p.check(a)
    p.check(b)
    p.check(c, a)
    p.singular(a, name="plus_one")
    test = p.singular(a, folder="udf")
    test.config["function"] = plain


def units(p: Project) -> None:
    p.unit_tests = p.random.random() < 0.75
    a = p.model(mat="table")
    b = p.model(a, mat="view")
    c = p.model(a, b, mat="table")
    e = p.model(a, mat="ephemeral")
    d = p.model(c, e, mat="incremental")
    p.model(d)
    for model, name in ((b, "unit"), (b, "unit two"), (c, "unit"), (d, "unit"), (c, c.name)):
        p.units.append(Unit(name, model))
    p.check(a)
    p.check(c, name="unit")
    if p.random.random() < 0.6:
        unit = p.random.choice(p.units)
        unit.wrong = True
        p.faults.append(f"unit test {unit.name} of {unit.model.name}")


def exposures(p: Project) -> None:
    p.groups = ["finance"]
    a = p.model(config={"group": "finance"}, extra={"access": "private"})
    b = p.model(a, config={"group": "finance"})
    p.check(b)
    for name, node in (("dash", b), (a.name, b), ("empty", None)):
        depends = [node.ref("root")] if node else []
        p.exposures.append(
            {
                "name": name,
                "type": "dashboard",
                "owner": {"email": "x@example.com"},
                "depends_on": depends,
            }
        )


def twins(p: Project) -> None:
    names = p.random.sample(TWINS, 6)
    for name in names:
        node = p.model(*p.some(least=0, most=1), name=name, folder=p.random.choice(("", "f")))
        p.check(node, name=p.random.choice((None, p.random.choice(TWINS))))
    for name in p.random.sample(TWINS, 2):
        p.singular(*p.some(), name=name)


def nasty_sources(p: Project) -> None:
    for name in p.random.sample([n for n in NASTY if "(" not in n], 3):
        node = p.source(name=name, source=p.random.choice(("raw", name, "a.b")))
        p.check(node)
        p.check(p.model(node), node)
    p.check(*p.some(kinds=("source",), least=2, most=2))


def stored_failures(p: Project) -> None:
    a = p.model()
    b = p.model(a)
    p.check(a, rows=3, config={"store_failures": True, "severity": "warn"})
    p.check(b, config={"store_failures": True})
    p.check(b, a, rows=2, config={"store_failures_as": "view", "severity": "warn"})
    p.singular(b, name="kept it", config={"store_failures": True})
    p.model(b)


def dense(p: Project) -> None:
    """Many tests of several parents over a graph with many ways through it."""
    layers = [[p.model(mat="view") for _ in range(2)]]
    for _ in range(3):
        above = [node for layer in layers for node in layer]
        layers.append(
            [
                p.model(*p.random.sample(above, 2), mat=p.random.choice(("view", "ephemeral")))
                for _ in range(2)
            ]
        )
    nodes = [node for layer in layers for node in layer]
    for size in (1, 2, 2, 2, 3, 3):
        p.check(*p.random.sample(nodes, size))
    p.singular(*p.random.sample(nodes, 2))


SELECTIONS: tuple[Callable[[Project, str], list[str]], ...] = (
    lambda p, name: ["--select", f"+{name}"],
    lambda p, name: ["--select", f"{name}+"],
    lambda p, name: ["--select", f"@{name}"],
    lambda p, name: ["--select", f"{name}+1", "--indirect-selection", "cautious"],
    lambda p, name: ["--select", f"{name}+", "--indirect-selection", "buildable"],
    lambda p, name: ["--select", f"+{name}", "--indirect-selection", "empty"],
    lambda p, name: ["--exclude", name],
    lambda p, name: ["--exclude", f"{name}+"],
    lambda p, name: ["--select", "tag:t"],
    lambda p, name: ["--select", "tag:t+", "--exclude", name],
    lambda p, name: ["--select", "path:models"],
    lambda p, name: ["--select", "path:models,tag:t", name],
    lambda p, name: ["--select", "config.materialized:table", "config.materialized:view+"],
    lambda p, name: ["--select", "test_type:data"],
    lambda p, name: ["--exclude", "test_type:generic"],
    lambda p, name: ["--selector", "some"],
    lambda p, name: ["--selector", "fewer"],
    lambda p, name: ["--select", "source:*+"],
)


def subset(p: Project) -> None:
    middle = p.model(*p.some(), p.source(), name="middle")
    below = p.model(middle, mat="table")
    p.model(p.model(below, mat="ephemeral"), middle)
    p.check(middle)
    p.check(below, middle)
    for node in p.nodes:
        if node.kind == "model" and p.random.random() < 0.5:
            node.config["tags"] = ["t"]
    p.selectors = [
        {"name": "some", "definition": {"union": ["tag:t", {"exclude": ["middle+1"]}]}},
        {
            "name": "fewer",
            "definition": {
                "method": "tag",
                "value": "t",
                "parents": True,
                "indirect_selection": "cautious",
            },
        },
    ]
    p.subset = p.random.choice(SELECTIONS)(p, "middle")


FEATURES: dict[str, Callable[[Project], None]] = {
    feature.__name__: feature
    for feature in (
        materializations, ephemerals, seeds_snapshots, sources, disabled, packages, versions,
        custom_names, singulars, relationships, severities, nasty_models, nasty_tests, folders,
        long_names, functions, units, exposures, twins, nasty_sources, stored_failures, dense,
        graph, subset,
    )
}  # fmt: skip


def _above(node: Node) -> set[int]:
    """The numbers of all that the node is built from."""
    above = (*node.parents, *node.functions)
    return {number for parent in above for number in {parent.number, *_above(parent)}}


def _pick(p: Project) -> Check:
    """A test to tamper with: mostly one that holds something back."""
    checks = [c for c in p.checks if c.template in ("outcome", "agrees", "") and _live(c)]
    holding = [
        c for c in checks if c.on and any({n.number for n in c.on} <= _above(o) for o in p.nodes)
    ]
    among = holding if holding and p.random.random() < 0.8 else checks
    return p.random.choice(among)


def _live(check: Check) -> bool:
    return all(thing.config.get("enabled", True) for thing in (check, *check.on))


def _name(check: Check) -> str:
    return f"test {check.name or check.template} of {[node.name for node in check.on]}"


def failing_test(p: Project) -> None:
    check = _pick(p)
    check.rows = 3
    check.config.pop("severity", None)
    p.faults.append(f"failing {_name(check)}")


def broken_test(p: Project) -> None:
    check = _pick(p)
    check.broken = True
    if p.random.random() < 0.5:
        check.config["severity"] = "warn"
    p.faults.append(f"broken {_name(check)}")


def warning_test(p: Project) -> None:
    check = _pick(p)
    check.rows = 3
    check.config["severity"] = "warn"
    p.faults.append(f"warning {_name(check)}")


def broken_node(p: Project) -> None:
    """Breaks a node that is neither the root of everything nor, mostly, a leaf."""
    among = [n for n in p.nodes if n.kind != "source" and n.config.get("enabled", True)]
    middle = [n for n in among if n.parents and any(n.number in _above(o) for o in among)]
    node = p.random.choice(middle if middle and p.random.random() < 0.7 else among)
    node.broken = True
    p.faults.append(f"broken {node.kind} {node.name}")


FAULTS = {
    "none": (),
    "test": (failing_test,),
    "tests": (failing_test, failing_test),
    "broken_test": (broken_test,),
    "warning": (warning_test,),
    "node": (broken_node,),
    "both": (failing_test, broken_node),
    "all": (failing_test, broken_node, warning_test),
}
