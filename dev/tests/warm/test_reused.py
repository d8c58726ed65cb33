"""A worker that has run a command runs the next one as if it were new."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import time
from pathlib import Path

import psycopg2
import pytest

from dev.tests.oracle import projects
from include.engine.manifest import records
from include.engine.plan.records import Options
from include.engine.plan.tasks import plan_tasks

from .conftest import eventually
from .test_processes import in_memory
from .test_same_as_cold import differences, plain_log

LIST = ("-q", "ls", "--select", "one", "--resource-type", "model")


def workers(warm) -> set[int]:
    """Those that wait, where no command runs."""
    servers = warm.servers()
    return {pid for pid, above in warm.processes().items() if above in servers}


def end_children(warm) -> None:
    """The next command has a worker of its own."""
    kill_children(warm)
    assert eventually(lambda: not workers(warm))


def kill_children(warm) -> None:
    for pid in workers(warm):
        with contextlib.suppress(ProcessLookupError):  # it has waited for long enough
            os.kill(pid, signal.SIGKILL)


def test_one_worker_runs_one_command_after_the_other(warm, shop):
    warm.run(shop, *LIST)
    end_children(warm)
    seen = []
    for argv in (LIST, ("run", "--select", "one"), ("test", "--select", "one"), LIST):
        warm.run(shop, *argv)
        seen.append(workers(warm))
    assert len(seen[0]) == 1
    assert seen == [seen[0]] * 4


@pytest.mark.parametrize(
    "argv",
    [
        ("run-operation", "answer"),
        ("show", "--select", "one"),
        ("build", "--select", "one"),
        ("run", "--no-such-option"),
        ("run", "--select", "one", "--defer", "--state", "STATE"),
    ],
    ids=" ".join,
)
def test_what_may_leave_more_ends_its_worker(warm, shop, argv):
    warm.run(shop, *LIST)
    if "STATE" in argv:
        state = warm.run(shop, "parse", DBT_WARM="false").target
        argv = (*argv[:-1], str(state))
    before = workers(warm)
    warm.run(shop, *argv)
    assert eventually(lambda: not before & workers(warm), 2.0)


def test_parallel_commands_have_workers_of_their_own(warm, shop):
    argv, env = ("test", "--select", "not_null_one_id"), {"HOOK_SLEEP": "1"}
    warm.run(shop, "run", "--select", "one", **env)
    started = [warm.start(shop, *argv, **env) for _ in range(3)]
    assert [warm.wait(process).code for process in started] == [0, 0, 0]
    assert len(workers(warm)) == 3


def test_worker_that_waits_ends_and_its_secret_with_it(warm, shop):
    """After seconds; of what a command had, only the process that ran it knows."""
    secret = "hunter3-" + "soon-gone"[::-1]
    env = {"DBT_ENV_SECRET_PASSWORD": secret}
    assert warm.run(shop, "run", "--select", "one", **env).code == 0
    assert not any(in_memory(Path(f"/proc/{pid}"), secret.encode()) for pid in warm.servers())
    began = time.monotonic()
    assert eventually(lambda: not workers(warm), 10)
    assert time.monotonic() - began < 6


def test_worker_that_was_killed_while_it_waits_harms_nothing(warm, shop):
    warm.run(shop, *LIST)
    kill_children(warm)
    result = warm.run(shop, *LIST)
    assert (result.code, result.text) == (0, "shop.one\n")


def test_worker_ends_after_so_many_commands(warm, shop):
    """So its memory is bounded; until then it does not grow by much (KB)."""
    warm.run(shop, *LIST)
    end_children(warm)
    seen, sizes = [], []
    for _ in range(101):
        assert warm.run(shop, *LIST).text == "shop.one\n"
        seen.append(tuple(workers(warm)))
        sizes.append(sum(private(pid) for pid in seen[-1]))
    assert len(set(seen[:99])) == 1
    assert seen[100] != seen[98]
    assert max(sizes[:99]) - sizes[9] < 32_768


def private(pid: int) -> int:
    """KB of memory that the process shares with nobody."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+)", text)[1])


def test_nothing_of_a_command_is_there_for_the_next(warm, shop, query):
    """Its environment, its variables in results, its session, its folder, its umask."""
    for parsed in ({"ENVY": "first"}, {}):
        warm.run(shop, *LIST, **parsed)
    end_children(warm)
    one = warm.run(shop, "run", "--select", "envy", ENVY="first", DBT_ENV_CUSTOM_ENV_RUN="1")
    assert query("select word from shop.envy") == [("first",)]
    (worker,) = workers(warm)
    assert b"first" not in Path(f"/proc/{worker}/environ").read_bytes()
    assert os.readlink(f"/proc/{worker}/cwd") == "/"
    assert eventually(lambda: open_files(worker) == ["/dev/null"] * 3 + ["socket"], 5)
    two = warm.run(shop, "run", "--select", "envy", DBT_ENV_CUSTOM_ENV_OTHER="2")
    assert query("select word from shop.envy") == [("unset",)]
    assert workers(warm) == {worker}
    envs = [result.artifact("run_results.json")["metadata"]["env"] for result in (one, two)]
    assert envs == [{"RUN": "1"}, {"OTHER": "2"}]


def open_files(pid: int) -> list[str]:
    links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return sorted(link.split(":")[0] for link in links)


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORACLE_PROJECTS", "3"))))
def test_generated_project_task_by_task(warm, tmp_path, query, seed):
    """The tasks of a project of dev/tests/oracle, twice in one worker after the other: the same
    exit codes, logs, results and compiled SQL as in workers of their own. Ephemeral models, hooks
    and foreign keys change the nodes that they are compiled with.
    """
    spec = projects.generate(7 * seed + 1, tmp_path)
    name = f"tasks_{seed}"
    env = {"ORACLE_HOST": warm.env["PGHOST"], "ORACLE_DATABASE": name}

    def empty():
        query(f"drop database if exists {name} with (force)")
        query(f"create database {name}")
        for statement in spec.setup:
            execute(warm, name, statement)

    empty()
    parsed = warm.run(tmp_path, "parse", DBT_WARM="false", **env)
    commands = [
        task.argv
        for task in plan_tasks(
            records.load_manifest(parsed.target / "manifest.json"), Options(unit_tests=True)
        )
        if task.argv and task.argv[0] in ("run", "test", "seed", "snapshot")
    ]
    warm.run(tmp_path, "ls", **env)
    told = []
    for alone in (True, False):
        empty()
        end_children(warm)
        told.append([])
        for argv in commands * 2:
            result = warm.run(tmp_path, *argv, **env)
            assert not result.cold and not result.parsed, shlex.join(argv)
            told[-1].append(result)
            if alone:
                end_children(warm)
    assert len(workers(warm)) == 1
    for argv, own, again in zip(commands * 2, *told, strict=True):
        assert own.code == again.code, argv
        logs = [sorted(plain_log(result.text, result.target)) for result in (own, again)]
        assert logs[0] == logs[1], argv
        found = [result.artifact("run_results.json") for result in (own, again)]
        for artifact in found:
            artifact["results"].sort(key=lambda result: result["unique_id"])
        assert differences(*found) == [], argv


def execute(warm, database: str, statement: str) -> None:
    connection = psycopg2.connect(host=warm.env["PGHOST"], user="postgres", dbname=database)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()
