"""Runs generated projects through dbt twice, by `dbt build` and by the plan, and compares.

Executed by the Python of dbt's own environment: reads seeds, one JSON object per line, on standard
input and writes one JSON object per seed to standard output. dbt is imported once; each project is
parsed once, in a process forked for it, and each dbt command runs in a process forked from that
one, so that no command sees what another left in memory.

    python dev/tests/oracle/worker.py HOST DATABASE FOLDER
"""

from __future__ import annotations

import contextlib
import importlib
import json
import marshal
import os
import pickle
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(REPO)]

import jinja2  # noqa: E402
import networkx  # noqa: E402
import psycopg2  # noqa: E402
from dbt.cli.main import dbtRunner  # noqa: E402
from dbt.compilation import Linker  # noqa: E402
from dbt.flags import get_flags  # noqa: E402
from dbt.graph import Graph, ResourceTypeSelector, parse_difference  # noqa: E402
from dbt.node_types import NodeType  # noqa: E402
from dbt_common.tests import enable_test_caching  # noqa: E402

from dev.tests.oracle import projects  # noqa: E402
from include.engine.manifest import records as manifests  # noqa: E402
from include.engine.plan.records import Options, Task  # noqa: E402
from include.engine.plan.tasks import plan_tasks  # noqa: E402

SECONDS = 300  # for one project
# `dbt build` reports these without doing anything for them; the plan has no task for them.
NOT_RUN = ("exposure.", "saved_query.", "metric.", "semantic_model.")
# Nothing here that dbt reads with its static parser: that starts threads, and what is forked from a
# process with them hangs.
WARM = ["materializations", "sources", "packages", "versions", "functions", "subset"]
# What a dbt command picks from.
TYPES = {
    "run": ["model"],
    "seed": ["seed"],
    "snapshot": ["snapshot"],
    "test": ["test", "unit_test"],
}
PASSED = {"success": "ok", "pass": "ok"}

WRONG = ("fail", "error")

Result = tuple[str, object]
"""What became of a node: a status, and how many rows failed (of a test)."""


@dataclass
class Invocation:
    """One dbt command: whether it succeeded, results by unique id, lines (of `ls`), error, log."""

    success: bool
    results: list[tuple[str, str, object]]
    lines: list[str]
    error: str
    log: Path


# ---- processes ------------------------------------------------------------------------------


def forked(function: Callable[[], object], seconds: float = SECONDS) -> object:
    """What `function` returns in a process forked for it (an exception is raised here as text)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        signal.alarm(int(seconds))
        try:
            answer = (True, function())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(answer, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(pid, 0)
    if not data:
        raise RuntimeError(f"process ended with status {status}")
    good, value = pickle.loads(data)
    if not good:
        raise RuntimeError(value)
    return value


COMPILED: dict[tuple, object] = {}


def remember_templates() -> None:
    """Has Jinja compile each text once: dbt compiles its macros anew in every process."""
    compile_ = jinja2.Environment.compile

    def remembered(self, source, name=None, filename=None, raw=False, defer_init=False):
        if raw or not isinstance(source, str):
            return compile_(self, source, name, filename, raw, defer_init)
        key = (type(self).__qualname__, source, name, filename, defer_init)
        if key not in COMPILED:
            COMPILED[key] = compile_(self, source, name, filename, raw, defer_init)
        return COMPILED[key]

    jinja2.Environment.compile = remembered


def warmth() -> bytes:
    """What this process imported and compiled, for `warm` in the process that it came from."""
    codes = {k: v for k, v in COMPILED.items() if k[1].lstrip().startswith("{%")}
    return marshal.dumps((codes, sorted(sys.modules)))


def warm(data: bytes) -> None:
    """Has here, and so in what is forked from now on, what another process needed."""
    codes, modules = marshal.loads(data)
    COMPILED.update(codes)
    for module in modules:
        if module not in sys.modules and not module.startswith(("__", "multiprocessing")):
            with contextlib.suppress(ImportError):
                importlib.import_module(module)


# ---- dbt ------------------------------------------------------------------------------------


class Dbt:
    """dbt for one parsed project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = None
        self.commands = 0

    def parse(self, *flags: str) -> None:
        done = self._invoke([*flags, "parse"], self.folder / "parse.log")
        if not done[0].success:
            raise RuntimeError(f"dbt parse: {done[0].error}")
        self.manifest = done[1]

    def run(self, argv: Iterable[str]) -> Invocation:
        """`dbt` and `argv` in a process of its own."""
        self.commands += 1
        log = self.folder / f"command{self.commands}.log"

        def call() -> tuple:
            done, _ = self._invoke(["--no-write-json", *argv], log)
            codes = warmth() if self.commands == 1 else b""
            return done, codes

        done, codes = forked(call)
        if codes:
            warm(codes)
        return done

    def _invoke(self, argv: list[str], log: Path) -> tuple[Invocation, object]:
        flags = ["--log-level-file", "none", "--no-use-colors", "--no-partial-parse"]
        places = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder)]
        with _output_to(log):
            done = dbtRunner(manifest=self.manifest).invoke([*flags, *argv, *places])
        found = getattr(done.result, "results", None) or ()
        results = [(r.node.unique_id, str(r.status), r.failures) for r in found]
        lines = done.result if isinstance(done.result, list) else []
        error = "" if done.exception is None else str(done.exception)
        return Invocation(done.success, results, lines, error, log), done.result


class _output_to:
    """Sends the process's own standard output and error to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        sys.stdout.flush()
        self.kept = os.dup(1), os.dup(2)
        target = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)

    def __exit__(self, *_) -> None:
        sys.stdout.flush()
        for number, kept in zip((1, 2), self.kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)


# ---- warehouse ------------------------------------------------------------------------------


class Warehouse:
    """The database in which one worker runs its projects, one after the other."""

    def __init__(self, host: str, database: str) -> None:
        self.host, self.database = host, "postgres"
        if not self._query(f"select 1 from pg_database where datname = '{database}'"):
            self._query(f"create database {database}")
        self.database = database

    def _query(self, *statements: str) -> list[tuple]:
        connection = psycopg2.connect(host=self.host, dbname=self.database, user="postgres")
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def reset(self, setup: Iterable[str]) -> None:
        """Empties the database and makes the source tables."""
        schemas = self._query(
            "select quote_ident(nspname) from pg_namespace "
            "where nspname !~ '^pg_' and nspname <> 'information_schema'"
        )
        drop = [f"drop schema {schema} cascade" for (schema,) in schemas]
        self._query("set client_min_messages = warning", *drop, *setup)

    def contents(self) -> dict[str, object]:
        """Kind, columns and rows of every relation, and the text of every function.

        Without the columns that dbt adds to a snapshot: they hold the time.
        """
        relations = self._query(
            "select format('%I.%I', nspname, relname), relkind, "
            "array_agg(quote_ident(attname)::text order by attnum) "
            "from pg_class c join pg_namespace n on n.oid = relnamespace "
            "join pg_attribute a on a.attrelid = c.oid and attnum > 0 and not attisdropped "
            "and attname !~ '^dbt_' where relkind in ('r', 'v', 'm', 'p') and nspname !~ '^pg_' "
            "and nspname <> 'information_schema' group by 1, 2"
        )
        found: dict[str, object] = {}
        for name, kind, columns in relations:
            text = ", ".join(columns)
            rows = self._query(f"select {text} from {name} order by {text}")
            found[name] = [kind, columns, [[str(value) for value in row] for row in rows]]
        functions = self._query(
            "select format('%I.%I', nspname, proname), prosrc from pg_proc p "
            "join pg_namespace n on n.oid = pronamespace where nspname !~ '^pg_' "
            "and nspname <> 'information_schema'"
        )
        return found | {f"function {name}": source for name, source in functions}


# ---- the two runs ---------------------------------------------------------------------------


def oracle(dbt: Dbt, spec: projects.Spec) -> dict[str, Result]:
    """What one `dbt build` does."""
    types = [] if spec.unit_tests else ["--exclude-resource-type", "unit_test"]
    done = dbt.run(["build", *types, *spec.subset])
    if done.error:
        raise RuntimeError(f"dbt build: {done.error}")
    ids = [unique_id for unique_id, _, _ in done.results]
    if len(ids) != len(set(ids)):
        raise RuntimeError(f"dbt build ran something twice: {_twice(ids)}")
    return _results(done)


def by_plan(dbt: Dbt, tasks: Iterable[Task], problems: list[str]) -> dict[str, Result]:
    """What the tasks do, in the order given, as Airflow would: a task runs if all that it waits for
    succeeded, else all its nodes are skipped.
    """
    good: set[str] = set()
    seen: dict[str, Result] = {}
    for task in tasks:
        if not good.issuperset(task.upstream):
            found: dict[str, Result] = dict.fromkeys(task.nodes, ("skipped", None))
        else:
            done = dbt.run(task.argv)
            found = _results(done)
            ran = [r[0] for r in done.results if not r[0].startswith("exposure.")]
            if sorted(ran) != sorted(task.nodes):
                problems.append(
                    f"task {task.id!r} {list(task.argv)} says {list(task.nodes)}, "
                    f"dbt executed {sorted(ran)} {done.error}"
                )
            if done.success:
                good.add(task.id)
        for node in found.keys() & seen.keys():
            problems.append(f"{node} is executed twice, again by {task.id!r}")
        seen |= found
    return seen


def _results(done: Invocation) -> dict[str, Result]:
    return {
        unique_id: (PASSED.get(status, status), failures if status in ("fail", "warn") else None)
        for unique_id, status, failures in done.results
        if not unique_id.startswith(NOT_RUN)
    }


def _unit_tests_alike(dbt: Dbt, results: dict[str, Result]) -> dict[str, Result]:
    """The results with the unit tests of a model made alike where one of them went wrong.

    `dbt build` skips those that it would have run after that one, in the order of a Python set,
    which is another each time; `dbt test` runs them all.
    """
    model = {u: unit.depends_on.nodes[0] for u, unit in dbt.manifest.unit_tests.items()}
    wrong = {model[u] for u, (status, _) in results.items() if u in model and status in WRONG}
    return {
        node: ("one of the model's unit tests failed", None) if model.get(node) in wrong else result
        for node, result in results.items()
    }


def _twice(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def adverse(tasks: tuple[Task, ...]) -> list[Task]:
    """The order that runs what builds as early, and what tests as late, as the edges allow: of the
    tasks that are free, the one deepest in the graph first, tests only when nothing else is free.
    """
    depth = _depths(tasks)
    return _scheduled(tasks, lambda task: (task.kind in ("test", "unit_test"), -depth[task.id]))


def early(tasks: tuple[Task, ...]) -> list[Task]:
    """The order that runs tests as early as the edges allow, whatever else is free."""
    depth = _depths(tasks)
    return _scheduled(tasks, lambda task: (task.kind not in ("test", "unit_test"), depth[task.id]))


def _depths(tasks: tuple[Task, ...]) -> dict[str, int]:
    depth: dict[str, int] = {}
    for task in tasks:
        depth[task.id] = 1 + max((depth[other] for other in task.upstream), default=0)
    return depth


def shuffled(tasks: tuple[Task, ...], seed: int) -> list[Task]:
    """An order at random that the edges allow."""
    chance = random.Random(seed)
    return _scheduled(tasks, lambda task: chance.random())


def _scheduled(tasks: tuple[Task, ...], key: Callable) -> list[Task]:
    left, done, order = list(tasks), set(), []
    while left:
        free = [task for task in left if done.issuperset(task.upstream)]
        task = min(free, key=key)
        left.remove(task)
        done.add(task.id)
        order.append(task)
    return order


# ---- what needs no run ----------------------------------------------------------------------


def check_graph(dbt: Dbt, tasks: tuple[Task, ...], gates: bool, problems: list[str]) -> None:
    """Every pair of nodes is in the order in which dbt's own graph has them, and no other is.

    dbt's graph is that of `dbt build` with its test edges; without gates, the bare one.
    """
    linker = Linker()
    linker.link_graph(dbt.manifest)
    if gates:
        dbt.manifest.build_parent_and_child_maps()
        linker.add_test_edges(dbt.manifest)
    graph = linker.graph
    # dbt runs unit tests with their model, before it; that they hold it back is no gate of tests.
    models = {u: unit.depends_on.nodes[0] for u, unit in dbt.manifest.unit_tests.items()}
    parents = {
        unit: [p for p in graph.predecessors(model) if p not in models]
        for unit, model in models.items()
    }
    graph.remove_nodes_from(models)
    graph.add_edges_from((unit, model) for unit, model in models.items())
    graph.add_edges_from((parent, unit) for unit in models for parent in parents[unit])
    nodes = {node: task for task in tasks for node in task.nodes}
    above: dict[str, set[str]] = {}
    for task in tasks:
        above[task.id] = set(task.upstream).union(*(above[other] for other in task.upstream))
    for node, task in nodes.items():
        wanted = networkx.ancestors(graph, node) & nodes.keys()
        found = {other for other in nodes if nodes[other].id in above[task.id]}
        for other in sorted(wanted - found):
            problems.append(f"gates={gates}: {node} does not wait for {other}")
        for other in sorted(found - wanted):
            problems.append(f"gates={gates}: {node} waits for {other}, in dbt it does not")


def check_selection(dbt: Dbt, tasks: tuple[Task, ...], problems: list[str]) -> None:
    """dbt's own selection picks from each command what the task says it executes, also where a
    failure above keeps the task from running.
    """
    linker = Linker()
    linker.link_graph(dbt.manifest)
    graph = Graph(linker.graph)
    for task in tasks:
        words: dict[str, list[str]] = {}
        for word in task.argv[1:]:
            if word.startswith("--"):
                words[last := word] = []
            else:
                words[last].append(word)
        (indirect,) = words.get("--indirect-selection", ["eager"])
        object.__setattr__(get_flags(), "INDIRECT_SELECTION", indirect)
        types = words.get("--resource-type") or TYPES[task.argv[0]]
        selector = ResourceTypeSelector(graph, dbt.manifest, None, [NodeType(t) for t in types])
        spec = parse_difference(words["--select"], words.get("--exclude"))
        found = sorted(n for n in selector.get_selected(spec) if not _ephemeral(dbt, n))
        if found != sorted(task.nodes):
            problems.append(f"{list(task.argv)} selects {found}, the task says {list(task.nodes)}")


def _ephemeral(dbt: Dbt, unique_id: str) -> bool:
    node = dbt.manifest.nodes.get(unique_id)
    return node is not None and node.is_ephemeral_model


def check_plan(tasks: tuple[Task, ...], problems: list[str]) -> None:
    """Ids are unique, the order is topological, each node is in one task."""
    problems += [f"task id twice: {i}" for i in _twice(task.id for task in tasks)]
    problems += [f"in two tasks: {n}" for n in _twice(n for task in tasks for n in task.nodes)]
    seen: set[str] = set()
    for task in tasks:
        problems += [f"{task.id} before {other}" for other in task.upstream if other not in seen]
        seen.add(task.id)


def check_shell(tasks: tuple[Task, ...], problems: list[str]) -> None:
    """bash reads back from each quoted command the arguments that went into it."""
    script = "".join(f"printf '%s\\0' {shlex.join(task.argv)}\nprintf '\\1\\0'\n" for task in tasks)
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
    said = done.stdout.decode().split("\1\0")[:-1]
    for task, text in zip(tasks, said, strict=True):
        if tuple(text.split("\0")[:-1]) != task.argv:
            problems.append(f"bash reads {text!r} for {task.argv}")


# ---- one project ----------------------------------------------------------------------------


def run_project(seed: int, folder: Path, warehouse: Warehouse) -> dict:
    """The report on one seed: `problems` is empty if the plan and dbt agree."""
    start = time.perf_counter()
    problems: list[str] = []
    shutil.rmtree(folder, ignore_errors=True)
    spec = projects.generate(seed, folder)
    os.chdir(folder)
    dbt = Dbt(folder)
    dbt.parse()
    parsed = time.perf_counter() - start
    raw = json.loads((folder / "target" / "manifest.json").read_bytes())
    if spec.subset:
        options = ["--resource-type", "all", "--output", "json", "--output-keys", "unique_id"]
        listed = dbt.run(["--quiet", "ls", *options, *spec.subset])
        raw["selected"] = sorted(json.loads(line)["unique_id"] for line in listed.lines)
    loaded = manifests.parse_manifest(raw)
    tasks = plan_tasks(loaded, Options(unit_tests=spec.unit_tests))
    check_plan(tasks, problems)
    check_shell(tasks, problems)
    check_graph(dbt, tasks, True, problems)
    problems += forked(lambda: check_selection(dbt, tasks, found := []) or found)
    loose = plan_tasks(loaded, Options(gate_tests=False, unit_tests=spec.unit_tests))
    check_graph(dbt, loose, False, problems)

    if os.environ.get("ORACLE_STATIC"):
        return {"problems": problems, **asdict(spec), "setup": 0, "tasks": len(tasks)}

    def prepared() -> None:
        warehouse.reset(spec.setup)
        if spec.subset:  # what is left out is there already
            dbt.run(["build", "--exclude-resource-type", "test", "unit_test"])

    prepared()
    wanted = oracle(dbt, spec)
    wanted_contents = warehouse.contents()
    orders = {"adverse": adverse(tasks)}
    if seed % 4 == 1:
        orders["early"] = early(tasks)
    if seed % 8 == 2:
        orders["plan"] = list(tasks)
    if seed % 8 == 6:
        orders["random"] = shuffled(tasks, seed)
    for name, order in orders.items():
        prepared()
        found = by_plan(dbt, order, mine := [])
        mine += _differences(_unit_tests_alike(dbt, wanted), _unit_tests_alike(dbt, found))
        mine += _differences(wanted_contents, warehouse.contents(), "relation ")
        problems += [f"order {name}: {problem}" for problem in mine]
    return {
        "problems": problems,
        **asdict(spec),
        "setup": len(spec.setup),
        "statuses": dict(Counter(status for status, _ in wanted.values())),
        "tasks": len(tasks),
        "commands": dbt.commands,
        "seconds": round(time.perf_counter() - start, 2),
        "seconds_parse": round(parsed, 2),
        "seconds_processor": round(_processor_seconds(), 2),
    }


def _processor_seconds() -> float:
    here = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in here)


def _differences(wanted: Mapping, found: Mapping, what: str = "") -> list[str]:
    return [
        f"{what}{name}: dbt build {wanted.get(name, 'without')}, plan {found.get(name, 'without')}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]


def warm_up(folder: Path, warehouse: Warehouse) -> None:
    """Parses one project with a little of everything here, for what dbt makes on first use (the
    schemas of its files, its macros), and builds it in a fork.
    """
    shutil.rmtree(folder, ignore_errors=True)
    spec = projects.generate(0, folder, WARM)
    os.chdir(folder)
    warehouse.reset(spec.setup)
    dbt = Dbt(folder)
    dbt.parse("--no-static-parser")
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("parsing the warm-up project has started threads: it cannot be forked")
    dbt.run(["build"])


def main(host: str, database: str, folder: str) -> None:
    """Answers each line on standard input."""
    os.environ |= {"ORACLE_HOST": host, "ORACLE_DATABASE": database}
    answers = os.fdopen(os.dup(1), "w")
    enable_test_caching()
    remember_templates()
    warehouse = Warehouse(host, database)
    warm_up(Path(folder, "warm"), warehouse)

    def one(seed: int) -> tuple[dict, bytes]:
        return run_project(seed, Path(folder, f"seed{seed}"), warehouse), warmth()

    for line in sys.stdin:
        seed = json.loads(line)["seed"]
        try:
            report, codes = forked(lambda seed=seed: one(seed))
            if len(COMPILED) < 2000:
                warm(codes)
        except RuntimeError as error:
            report = {"problems": [str(error)]}
        answers.write(json.dumps({"seed": seed, **report}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
