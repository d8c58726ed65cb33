"""The project started as `astro dev start` does: a fresh clone, mounted read-only."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from dev.tests.image.astro import DAG, HOME, Project, eventually
from dev.tests.image.conftest import FIGURES

SMALL = "raw_customers stg_jaffle_shop__customers"
SMALL_TASKS = {
    "check_dbt",
    "seed.jaffle_shop.raw_customers",
    "model.jaffle_shop.stg_jaffle_shop__customers",
    "test.jaffle_shop.stg_jaffle_shop__customers",
    "run_results",
}
SEED = "seed.jaffle_shop.raw_customers"
SLOW = "model.jaffle_shop.slow"
BUILD = ("python", "-m", "include.engine.manifest.build")


def rebuild(project: Project, select: str) -> None:
    """A person's `python -m include.engine.manifest.build` in the scheduler's container."""
    limits = {"DBT_SELECT": select, "DBT_EXCLUDE": "test_name:relationships"}
    project.execute("scheduler", *BUILD, environ=limits)


def has_tasks(project: Project, wanted: set[str]) -> None:
    eventually(lambda: project.task_ids() == wanted, 180, project.task_ids)


def switched_on(project: Project) -> list[dict]:
    """The runs that there are, when the one has ended that switching the DAG on starts."""
    project.api(f"dags/{DAG}", {"is_paused": False}, "PATCH")
    runs = lambda: project.api(f"dags/{DAG}/dagRuns")["dag_runs"]  # noqa: E731
    eventually(lambda: bool(runs()), 60, runs)
    for run in runs():
        project.finished(run["dag_run_id"], 900)
    return runs()


def restarts(project: Project) -> dict[str, str]:
    """How often Docker has started each service again that had ended."""
    services = ("scheduler", "dag-processor", "api-server", "triggerer")
    ids = {name: project.compose("ps", "--quiet", name).stdout.strip() for name in services}
    count = ("inspect", "--format", "{{.RestartCount}}")
    return {name: project.docker(*count, found).stdout.strip() for name, found in ids.items()}


def by_hand(project: Project, where: tuple[str, ...], *command: str) -> str:
    """What a command of Airflow prints in the container that these words of compose name.

    The scheduler would take its run for one of its own, unless the DAG is paused.
    """
    project.api(f"dags/{DAG}", {"is_paused": True}, "PATCH")
    done = project.compose(*where, "airflow", *command, check=False)
    project.api(f"dags/{DAG}", {"is_paused": False}, "PATCH")
    return done.stdout


def tried_by_hand(project: Project, where: tuple[str, ...], task: str) -> str:
    """What `airflow tasks test` prints there."""
    return by_hand(project, where, "tasks", "test", DAG, task)


def states_in(output: str) -> list[str]:
    """The state that `airflow tasks test` ended with: its exit code says nothing."""
    return re.findall(r"new_state=(\w+)", output)


def ends(project: Project, where: tuple[str, ...]) -> list[str]:
    return states_in(tried_by_hand(project, where, SEED))


@pytest.fixture(scope="module", autouse=True)
def restarts_at_first(started: Project) -> dict[str, str]:
    """As the CLI starts them, the services end and begin again until the database is migrated."""
    return restarts(started)


def test_a_fresh_clone_starts_without_import_errors_and_with_a_fresh_manifest(started):
    assert started.api("importErrors")["import_errors"] == []
    assert started.tags() == {"dbt"}
    assert "not of the dbt project as it is now" not in started.dag()["doc_md"]
    assert not (started.folder / ".env").exists()


def test_a_run_is_green_and_its_models_are_in_the_warehouse(started):
    began = time.monotonic()
    (run,) = switched_on(started)
    FIGURES.append(f"first run: {time.monotonic() - began:.1f} s")
    assert run["state"] == "success", started.states(run["dag_run_id"])
    assert started.sql("select count(*) > 0, bool_and(order_id > 0) from analytics.orders") == "t|t"
    warm = started.execute(
        "scheduler", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    ).stdout
    assert "warm/server" in warm, "its tasks started dbt again and again"


def test_a_command_in_any_service_finds_the_warehouse(started):
    """`astro dev run tasks test …` runs in the api-server, `astro dev bash` where one likes."""
    for service in ("api-server", "triggerer"):
        assert ends(started, ("exec", "--no-TTY", service)) == ["success"]


def test_a_connection_in_the_settings_file_takes_the_place_of_the_samples(started):
    """`astro dev start` creates it with Airflow's API, and changes it where there is one already:
    a field that the file does not name stays as it is. So the sample's has no port.
    """
    sample = started.api("connections/warehouse")
    mine = {"conn_type": "mssql", "host": "db.example.com", "login": "mine", "schema": "shop"}
    mine |= {"connection_id": "warehouse", "password": "mine"}
    with pytest.raises(HTTPError, match="409"):
        started.api("connections", mine, "POST")
    started.api("connections/warehouse", mine, "PATCH")
    found = started.api("connections/warehouse")
    fields = ("conn_type", "host", "login", "schema", "port", "extra")
    shown = started.execute("api-server", "airflow", "connections", "get", "warehouse").stdout
    started.api("connections/warehouse", sample | {"password": "warehouse"}, "PATCH")
    assert {name: found[name] for name in fields} == {
        **{name: mine[name] for name in ("conn_type", "host", "login", "schema")},
        "port": None,
        "extra": None,
    }
    assert "mssql://mine:mine@db.example.com/shop" in shown


def test_a_connection_that_a_person_edits_in_airflow_stays_at_the_next_start(started):
    mine = {"connection_id": "warehouse", "conn_type": "postgres", "description": "mine"}
    started.api("connections/warehouse?update_mask=description", mine, "PATCH")
    started.compose("run", "--rm", "--no-TTY", "--no-deps", "db-migration")
    found = started.api("connections/warehouse")
    assert (found["description"], found["host"]) == ("mine", "warehouse")


@pytest.mark.parametrize("service", ["scheduler", "api-server"])
def test_the_warehouse_that_the_env_file_names_is_used_in_place_of_the_samples(started, service):
    """In a container of its own: a running one has the .env that was there at its start."""
    database = role = f"of_{service.replace('-', '_')}"
    started.sql(f"create database {database}")
    started.sql(f"create role {role} superuser login password 'a$b'")
    theirs = {"conn_type": "postgres", "host": "warehouse", "login": role, "password": "a$b"}
    env_file = started.folder / ".env"
    env_file.write_text(f"AIRFLOW_CONN_WAREHOUSE='{json.dumps(theirs | {'schema': database})}'\n")
    try:
        assert ends(started, ("run", "--rm", "--no-TTY", "--no-deps", service)) == ["success"]
    finally:
        env_file.unlink()
    count = "select count(*) > 0 from analytics_raw.raw_customers"
    assert started.sql(count, database) == "t"


@pytest.fixture(scope="module")
def small(started: Project) -> Project:
    """The DAG of three tasks, in a manifest that a person built in a container."""
    rebuild(started, SMALL)
    has_tasks(started, SMALL_TASKS)
    switched_on(started)
    return started


def test_a_manifest_built_in_one_container_is_what_all_of_them_use(small):
    """Without a restart: the DAG processor makes the DAG of it, the scheduler's tasks run."""
    run = small.trigger()
    assert small.finished(run) == "success"
    assert small.states(run) == dict.fromkeys(SMALL_TASKS, ("success", 1))


def test_a_whole_run_by_hand_is_green_in_the_service_of_the_cli(small):
    """`astro dev run dags test dbt_dag` runs it in the API server's container."""
    newest = f"dags/{DAG}/dagRuns?order_by=-id&limit=1"
    (before,) = small.api(newest)["dag_runs"]
    printed = by_hand(small, ("exec", "--no-TTY", "api-server"), "dags", "test", DAG)
    (run,) = small.api(newest)["dag_runs"]
    assert (run["state"], run != before) == ("success", True), printed
    states = {task: state for task, (state, _) in small.states(run["dag_run_id"]).items()}
    assert states == dict.fromkeys(SMALL_TASKS, "success")


def test_a_changed_model_is_told_until_the_manifest_is_built_on_the_host(small):
    """On the host `make manifest` writes .dbt/manifest; here dbt comes from the image."""
    model = small.folder / "include/dbt/models/slow.sql"
    model.write_text("select 1 as id\n")
    eventually(lambda: small.tags() == {"dbt", "stale manifest"}, 60, small.tags)
    page = lambda: small.dag()["doc_md"]  # noqa: E731
    # Airflow writes the page down later than the tags.
    eventually(lambda: "`models/slow.sql`" in page(), 60, page)
    assert "`make manifest`" in page()
    host = small.folder / ".dbt"
    host.chmod(0o777)
    build = small.in_image(
        "python -m include.engine.manifest.build",
        *("--volume", f"{host}:/host", "--env", "DBT_MANIFEST=/host/manifest/manifest.json"),
        *("--volume", f"{small.folder}/include:{HOME}/include:ro", "--env", "DBT_SELECT=slow"),
    )
    assert build.returncode == 0, build.stdout
    has_tasks(small, {"check_dbt", SLOW, "run_results"})
    eventually(lambda: small.tags() == {"dbt"}, 60, small.tags)


@pytest.fixture
def slow(small: Project) -> Iterator[Project]:
    """The DAG of one task, whose model takes a while."""
    model = small.folder / "include/dbt/models/slow.sql"
    table = "{{ config(materialized='table') }}"
    model.write_text(f"{table} select 1 as id from (select pg_sleep(15)) as a_while\n")
    rebuild(small, "slow")
    has_tasks(small, {"check_dbt", SLOW, "run_results"})
    return small


def test_a_warehouse_that_is_down_at_the_start_of_a_run_and_comes_up_is_waited_for(slow):
    slow.compose("kill", "warehouse")
    try:
        run = slow.trigger()
        retried = lambda: slow.states(run)["check_dbt"][0] == "up_for_retry"  # noqa: E731
        eventually(retried, 120, lambda: slow.states(run))
    finally:
        slow.compose("start", "warehouse")
    assert slow.finished(run) == "success"
    assert slow.states(run)["check_dbt"][1] > 1
    assert slow.states(run)[SLOW] == ("success", 1)


def test_a_warehouse_that_is_restarted_in_the_middle_of_a_model_costs_a_retry(slow):
    run = slow.trigger()
    sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(15)%'"
    eventually(lambda: int(slow.sql(sleeping)) > 1, 120, lambda: slow.states(run))
    slow.compose("restart", "--timeout", "0", "warehouse")
    assert slow.finished(run) == "success"
    assert slow.states(run)[SLOW] == ("success", 2)


def tried(project: Project, **environ: str) -> str:
    """What a task prints that is run alone in the scheduler's container, and fails."""
    given = [part for pair in environ.items() for part in ("--env", "=".join(pair))]
    output = tried_by_hand(project, ("exec", "--no-TTY", *given, "scheduler"), SLOW)
    assert states_in(output) in (["failed"], ["up_for_retry"]), output
    return output


def test_a_full_disk_fails_the_task_with_its_reason_and_leaves_nothing_behind(slow):
    """The target folder lies in a file system of 64 kB, which has room for one file of a page.

    In one without any room Python would choose another folder.
    """
    slow.execute("scheduler", "sh", "-c", "head -c 61440 /dev/zero >/var/tmp/all")
    assert "No space left on device" in tried(slow, TMPDIR="/var/tmp")
    assert slow.execute("scheduler", "ls", "-A", "/var/tmp").stdout == "all\n"


def test_a_missing_dbt_fails_the_task_with_the_command_that_mends_it(slow):
    slow.execute("scheduler", "mv", ".dbt/venv", ".dbt/away")
    try:
        message = f"No dbt at {HOME}/.dbt/venv/bin/dbt. Install it with: make manifest"
        assert message in tried(slow)
    finally:
        slow.execute("scheduler", "mv", ".dbt/away", ".dbt/venv")


def test_no_service_was_restarted_by_what_happened(slow, restarts_at_first):
    assert restarts(slow) == restarts_at_first
