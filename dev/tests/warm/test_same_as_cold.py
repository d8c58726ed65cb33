"""A warm command gives what the cold one gives: exit code, log, results."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import psycopg2
import pytest

from dev.tests import sample
from dev.tests.oracle import projects

COMMANDS = [
    ("run", "--select", "one"),
    ("run", "--select", "broken"),
    ("test", "--select", "one"),
    ("--warn-error", "run", "--select", "nothing_of_this_name"),
    ("ls", "--select", "one+", "--output", "json"),
    ("show", "--select", "two", "--log-format", "json"),
    ("show", "--inline", "select 42 as answer"),
    ("source", "freshness"),
    ("run-operation", "answer"),
    ("run", "--no-such-option"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_small_project(warm, shop, command):
    """Also for failing models, failing tests, warnings and wrong usage."""
    warm.run(shop, *(w for w in command if w == "--warn-error"), "ls", "--select", "one")
    compare(warm, shop, command)


def test_sample_project(warm, tmp_path, query):
    project = sample.write_project(tmp_path / "sample")
    env = {"WAREHOUSE_HOST": warm.env["PGHOST"], "WAREHOUSE_DATABASE": "postgres"}
    env["DBT_THREADS"] = "1"  # the order of the log's lines
    warm.run(project, "ls", **env)

    def empty():
        for schema in ("analytics", "analytics_raw", "analytics_staging"):
            query(f"drop schema if exists {schema} cascade")

    compare(warm, project, ("build",), before=empty, **env)


def test_secret_in_an_error_is_not_shown(warm, shop):
    env = {"DBT_ENV_SECRET_PASSWORD": "hunter2"}
    warm.run(shop, "ls", **env)
    compare(warm, shop, ("show", "--inline", "select hunter2"), **env)
    text = warm.run(shop, "show", "--inline", "select hunter2", **env).text
    assert 'column "*****" does not exist' in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("file", "text", "wrong"),
    [
        ("dbt_project.yml", "name: shop", "name: shop\nmodel-paths: 7"),
        ("dbt_project.yml", "name: shop", "name: shop\nquoting: {database: [1]}"),
        ("dbt_project.yml", "name: shop", "name: shop\nvars: 7"),
        ("dbt_project.yml", "name: shop", "name: shop\nrequire-dbt-version: '<1.0.0'"),
        ("dbt_project.yml", "name: shop", "name: shop\ndispatch: [{macro_namespace: dbt}]"),
        ("profiles.yml", "threads: 1", "threads: many"),
        ("profiles.yml", "port: 5432", "port: {}"),
    ],
    ids=lambda value: value.rpartition("\n")[2],
)
def test_wrong_project(warm, shop, file, text, wrong):
    """What dbt does not allow in a project's file or a profile is told as ever."""
    warm.run(shop, "ls", "--select", "one")
    right = (shop / file).read_text()
    (shop / file).write_text(right.replace(text, wrong, 1))
    ends = []
    try:
        for given in ({}, {"DBT_WARM": "false"}):
            result = warm.run(shop, "run", "--select", "one", **given)
            ends.append((result.code, result.cold, plain_log(result.text, result.target)))
    finally:
        (shop / file).write_text(right)
    assert ends[0] == ends[1]
    assert ends[0][0] == 2


@pytest.mark.parametrize(
    ("level", "compared", "there"),
    [
        ("debug", r"SQL status.*|On \w.*", "SQL status"),  # a cold one also says how it parses
        ("info", r"\d of \d .*|Done.*|Error .*", "OK created"),
        ("error", r"\d of \d .*|Error .*|division.*", "division by zero"),
    ],
)
def test_log_file(warm, shop, level, compared, there):
    """Tasks want errors only: what nobody hears is not put into words, but all else is."""
    argv = ("run", "--select", "one", "broken", "--log-level-file", level)
    warm.run(shop, *argv)
    said = []
    for given in ({}, {"DBT_WARM": "false"}):
        result = warm.run(shop, *argv, **given)
        text = (result.target / "logs" / "dbt.log").read_text()
        assert there in text
        said.append(plain_log("\n".join(re.findall(compared, text)), result.target))
    assert said[0] == said[1]


def test_full_disk(warm, shop, tmp_path):
    """No room for the results of a command, or for what it prints: its end is that of a cold one,
    and the next command finds the same parent.
    """
    warm.run(shop, "ls")
    servers = warm.servers()
    ends = []
    for given in ({}, {"DBT_WARM": "false"}):
        target = Path(tempfile.mkdtemp(dir=tmp_path))
        (target / "run_results.json").symlink_to("/dev/full")
        result = warm.run(shop, "run", "--select", "one", target=target, **given)
        argv, env, _ = warm.command(shop, "ls", "--select", "one", **given)
        with open("/dev/full", "w") as full:
            printing = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=full)
        ends.append((result.code, "No space left on device" in result.text, printing.returncode))
    assert ends[0] == ends[1]
    assert ends[0][1] and 0 not in ends[0]
    assert warm.run(shop, "run", "--select", "one").code == 0
    assert warm.servers() == servers


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORACLE_PROJECTS", "3"))))
def test_generated_project(warm, tmp_path, query, seed):
    """The projects of dev/tests/oracle, some with planted faults; ORACLE_PROJECTS says how many."""
    spec = projects.generate(7 * seed, tmp_path)
    name = f"generated_{seed}"
    environment = {"ORACLE_HOST": warm.env["PGHOST"], "ORACLE_DATABASE": name}

    def empty():
        query(f"drop database if exists {name}")
        query(f"create database {name}")
        connection = psycopg2.connect(host=warm.env["PGHOST"], user="postgres", dbname=name)
        with connection, connection.cursor() as cursor:
            for statement in spec.setup:
                cursor.execute(statement)
        connection.close()

    empty()
    warm.run(tmp_path, "ls", **environment)
    # What parsing warns of is said by the command that parses, as with dbt's own partial parsing.
    target = warm.run(tmp_path, "parse", DBT_WARM="false", **environment).target
    compare(warm, tmp_path, ("build",), before=empty, target=target, order=sorted, **environment)


def compare(warm, project, command, before=lambda: None, target=None, order=list, **env):
    """`order` is `sorted` where dbt itself takes free nodes in the order of a set."""
    before()
    cold = warm.run(project, *command, target=target, DBT_WARM="false", **env)
    before()
    hot = warm.run(project, *command, **env)
    assert not hot.cold
    assert "--no-such-option" in command or not hot.parsed
    assert hot.code == cold.code
    logs = [order(plain_log(result.text, result.target)) for result in (hot, cold)]
    assert logs[0] == logs[1]
    for name in ("run_results.json", "sources.json"):
        assert (hot.target / name).exists() == (cold.target / name).exists(), name
        if (hot.target / name).exists():
            found = [result.artifact(name) for result in (hot, cold)]
            if order is sorted:
                for artifact in found:
                    artifact["results"].sort(key=lambda result: result["unique_id"])
            assert differences(*found) == [], name
            assert len({artifact["metadata"]["invocation_id"] for artifact in found}) == 2


def plain_log(text: str, target) -> list[str]:
    """The log without times, ids and paths, and without what it says of the partial parse file."""
    text = text.replace(str(target), "TARGET")
    for pattern, to in (
        (r"\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
        (r"\d{4}-\d\d-\d\dTTIME\w*", "DATE"),
        (r"\d+\.\d+ ?s(econds)?\b", "SECONDS"),
        (r'"(thread|pid|invocation_id|thread_name|elapsed|execution)": ?("[^"]*"|[\d.]+)', "X"),
        (r"\b\d+ of \d+\b", "NUMBER"),
        (r" \.+ \[", " .. ["),  # they fill up what that has left of the line
        (r'"(hash|node_(started|finished)_at|ts|run_duration)": ?("[^"]*"|[\d.]+)', "X"),
    ):
        text = re.sub(pattern, to, text)
    skip = ("dbt starts cold", "partial pars", "Starting full parse")
    return [line for line in text.splitlines() if not any(s in line for s in skip)]


TIMES = {
    "generated_at", "invocation_id", "invocation_started_at", "created_at", "started_at",
    "completed_at", "execution_time", "elapsed_time", "thread_id", "_invocation_id",
    "target_path", "log_path", "invocation_command", "updated_at", "run_started_at",
}  # fmt: skip


def differences(hot, cold, path=""):
    """Where two artifacts differ, other than in times, ids and the folders of the run."""
    if isinstance(hot, dict) and isinstance(cold, dict):
        keys = sorted((hot.keys() | cold.keys()) - TIMES)
        return [d for k in keys for d in differences(hot.get(k), cold.get(k), f"{path}/{k}")]
    if isinstance(hot, list) and isinstance(cold, list) and len(hot) == len(cold):
        pairs = enumerate(zip(hot, cold, strict=True))
        return [d for i, (h, c) in pairs for d in differences(h, c, f"{path}/{i}")]
    return [] if hot == cold else [f"{path}: {hot!r}, cold {cold!r}"]
