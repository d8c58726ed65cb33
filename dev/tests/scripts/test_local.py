"""The local Airflow of `make run` and `make up`, without an Airflow and a Postgres."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest

from include.engine import settings
from include.engine.manifest import staleness
from scripts.env_file import load_env_file
from scripts.local import airflow, follow, manifest, ports, processes, report, unprivileged
from scripts.local.environment import airflow_environment, load_secrets
from scripts.local.paths import LocalError, Paths

KEYS = {"postgres": "p/w", "warehouse": "w", "jwt": "j", "session": "s", "fernet": "f"}


@pytest.fixture
def at(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / ".airflow")


@pytest.fixture
def interruptible():
    """Ctrl-C acts, although a shell that starts tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def sleeper():
    """A process that has nothing to do with anything."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


# --- the environment


def test_the_environment_is_made_of_what_is_given_and_nothing_else():
    at = Paths(*(Path("/my project", name) for name in ("", ".airflow", "dags")))
    person = {
        "PATH": "/bin",
        "AIRFLOW_HOME": "/other",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_OTHER": "http://other",
        "PGHOST": "kept",
        "PGOPTIONS": "-c search_path=other",
        "PG_TARGET": "kept",
        "PYTHONHOME": "/other",
        "PYTHONPATH": "/other",
        "PYTHONUTF8": "1",
        "PYTHON_ENV": "kept",
        "no_proxy": "intranet",
    }
    found = airflow_environment(person, at, KEYS, 8080, "run", cores=2)
    socket = str(at.postgres_socket)
    assert json.loads(found.pop("AIRFLOW_CONN_WAREHOUSE")) == {
        "conn_type": "postgres",
        "host": socket,
        "port": 5432,
        "login": "warehouse",
        "password": "w",
        "schema": "warehouse",
    }
    assert found == {
        "PATH": "/bin",
        "PGHOST": "kept",
        "PG_TARGET": "kept",
        "PYTHONUTF8": "1",
        "PYTHON_ENV": "kept",
        "AIRFLOW_CONN_OTHER": "http://other",
        "AIRFLOW_HOME": "/my project/.airflow/home",
        "PYTHONPATH": "/my project",
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "intranet,localhost,127.0.0.1",
        "no_proxy": "intranet,localhost,127.0.0.1",
        "DBT_WARM_DIR": str(at.sockets / "warm"),
        "DBT_BY_MAKE": "true",
        "AIRFLOW__CORE__DAGS_FOLDER": "/my project/dags",
        "AIRFLOW__CORE__PLUGINS_FOLDER": "/my project/plugins",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": "f",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:8080/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": (
            "postgresql+psycopg2://airflow:p%2Fw@/airflow?"
            f"host={socket.replace('/', '%2F')}&port=5432"
        ),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "/my project/.airflow/logs",
        "AIRFLOW__API__BASE_URL": "http://127.0.0.1:8080",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": "8080",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": "s",
        "AIRFLOW__API_AUTH__JWT_SECRET": "j",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "15",
        "AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS": "True",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    }


def test_up_keeps_the_schedule_and_looks_at_dag_files_often(at):
    run, up = (airflow_environment({}, at, KEYS, 8080, verb, cores=8) for verb in ("run", "up"))
    assert "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE" not in up
    assert up["AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"] == "10"
    assert run["AIRFLOW__CORE__PARALLELISM"] == up["AIRFLOW__CORE__PARALLELISM"] == "16"


def test_a_connection_that_the_person_exports_is_kept(at):
    person = {"AIRFLOW_CONN_WAREHOUSE": "postgres://db.example.com/analytics"}
    found = airflow_environment(person, at, KEYS, 8080, "up", cores=2)
    assert found["AIRFLOW_CONN_WAREHOUSE"] == "postgres://db.example.com/analytics"


def test_the_env_file_names_the_warehouse_unless_the_person_exports_another(at, monkeypatch):
    file = at.project / ".env"
    file.write_text(
        '# AIRFLOW_CONN_WAREHOUSE=no\n\nAIRFLOW_CONN_WAREHOUSE=\'{"password": "a=$b"}\'\n'
    )
    for exported, expected in (
        ("", '{"password": "a=$b"}'),
        ("postgres://mine", "postgres://mine"),
    ):
        monkeypatch.setattr(os, "environ", {"AIRFLOW_CONN_WAREHOUSE": exported} if exported else {})
        load_env_file(file)
        found = airflow_environment(os.environ, at, KEYS, 8080, "up", cores=2)
        assert found["AIRFLOW_CONN_WAREHOUSE"] == expected


def test_there_need_be_no_env_file(at, monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    load_env_file(at.project / ".env")
    assert os.environ == {}


def test_secrets_are_made_once_for_their_owner_alone(at):
    first = load_secrets(at)
    assert load_secrets(at) == first
    assert first.keys() == KEYS.keys()
    assert len(set(first.values())) == 5
    assert at.secrets.stat().st_mode & 0o777 == 0o600


def test_secrets_that_cannot_be_read_are_not_replaced(at):
    load_secrets(at)
    at.secrets.write_text("{")
    with pytest.raises(LocalError, match=r"^\.airflow/secrets\.json is not JSON"):
        load_secrets(at)


# --- paths


def test_a_socket_has_a_short_path_wherever_the_project_is():
    far = Path("/" + "very long " * 30)
    at, other = Paths(far, far / ".airflow"), Paths(far, far / "other")
    assert len(os.fsencode(at.postgres_socket / ".s.PGSQL.5432")) <= 103
    assert at.sockets != other.sockets


def test_a_path_is_displayed_as_seen_from_the_project(at):
    assert at.display(at.logs) == ".airflow/logs"
    assert at.display(Path("/elsewhere")) == "/elsewhere"


# --- processes


def test_a_process_is_recorded_found_and_stopped_with_all_that_it_started(at):
    program = "import subprocess, sys; subprocess.run(['sleep', '60'], start_new_session=True)"
    record = processes.spawn(at, "web", [sys.executable, "-c", program], os.environ, "up", 8080)
    assert processes.recorded(at) == [record]
    while not (children := psutil.Process(record.pid).children()):
        time.sleep(0.01)
    processes.stop(at, [record])
    assert not processes.alive(record)
    assert [processes.birth(child.pid) for child in children] == [None]
    assert processes.recorded(at) == []


def test_a_process_that_ignores_the_first_signal_is_killed(at, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    program = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    record = processes.spawn(at, "deaf", [sys.executable, "-c", program], os.environ, "up")
    while not processes.log_of(at, "deaf").read_text():
        time.sleep(0.01)
    processes.stop(at, [record])
    assert not processes.alive(record)


def test_a_process_that_only_has_the_recorded_pid_is_not_touched(at, sleeper):
    record = processes.Record("web", sleeper.pid, "another boot/1", "up")
    processes.stop(at, [record])
    assert sleeper.poll() is None


def test_records_of_dead_processes_and_damaged_ones_are_dropped(at):
    at.records.mkdir(parents=True)
    (at.records / "dead.json").write_text('{"name": "dead", "pid": 1, "birth": "x", "verb": "up"}')
    (at.records / "damaged.json").write_text("{")
    assert processes.recorded(at) == []
    assert list(at.records.iterdir()) == []


def test_an_interrupt_while_something_is_being_done_comes_afterwards(interruptible):
    done = []
    with pytest.raises(KeyboardInterrupt), processes.uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_command_says_which_one_is_at_work(at):
    with processes.only_one(at, "run"):
        other = f"make run \\(process {os.getpid()}\\) is at work here"
        with pytest.raises(LocalError, match=other), processes.only_one(at, "up"):
            pass
    with processes.only_one(at, "up"):
        pass


def test_an_interrupted_command_is_ended_with_what_it_started(interruptible, tmp_path):
    (tmp_path / "interrupt.sh").write_text(
        f"sleep 61 & echo $! > pid; kill -INT {os.getpid()}; wait"
    )
    with pytest.raises(KeyboardInterrupt):
        processes.foreground(["sh", "interrupt.sh"], os.environ, tmp_path)
    assert processes.birth(int((tmp_path / "pid").read_text())) is None


def test_a_command_that_ends_gives_its_exit_code(tmp_path):
    assert processes.foreground(["sh", "-c", "exit 3"], os.environ, tmp_path) == 3


# --- Airflow


def test_a_port_that_somebody_answers_on_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert ports.free_port(port) > port
    assert ports.free_port(0) > 0


def test_the_log_of_a_task_is_that_of_its_last_try(at):
    task = {"task_id": "model.shop.orders", "try_number": 2}
    assert at.display(airflow.task_log(at, "dbt_dag", "manual", task)) == (
        ".airflow/logs/dag_id=dbt_dag/run_id=manual/task_id=model.shop.orders/attempt=2.log"
    )


def test_all_services_of_a_verb_have_to_run_for_it_to_be_running(at, monkeypatch):
    def records(*names):
        found = [processes.Record(name, 1, "b", "up", 8080) for name in names]
        monkeypatch.setattr(processes, "recorded", lambda _: found)

    records("scheduler", "dag-processor", "api-server", "triggerer")
    assert airflow.running(at, "up") == 8080
    assert airflow.running(at, "run") is None
    records("scheduler", "dag-processor", "api-server")
    assert airflow.running(at, "up") is None


# --- Postgres


@pytest.mark.parametrize(("mode", "expected"), [(0o755, True), (0o700, False), (0o711, True)])
def test_a_folder_is_open_to_all_when_everybody_may_enter_it(tmp_path, monkeypatch, mode, expected):
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(mode)
    monkeypatch.setattr(Path, "parents", property(lambda path: [path.parent]))
    assert unprivileged.open_to_all(inner) is expected


# --- the manifest


@pytest.fixture
def project(tmp_path) -> settings.Settings:
    """A dbt project and the manifest that was built from it, by a dbt that is older."""
    (tmp_path / "dbt" / "models").mkdir(parents=True)
    (tmp_path / "dbt" / "models" / "orders.sql").write_text("select 1")
    (tmp_path / "pins.txt").write_text("dbt-core==1.12.6")
    os.utime(tmp_path / "pins.txt", (1, 1))
    environ = {"DBT_PROJECT_DIR": "dbt", "DBT_MANIFEST": "manifest.json"}
    config = settings.load(environ, root=tmp_path)
    write_manifest(config)
    return config


def write_manifest(config: settings.Settings, **more: object) -> None:
    metadata = {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"}
    config.manifest.write_text(json.dumps({"metadata": metadata, **more}))
    staleness.write_list(config.manifest, staleness.project_files(config.project_dir))


def is_fresh(config: settings.Settings) -> bool:
    return manifest.is_fresh(config, config.manifest.with_name("pins.txt"))


def test_a_manifest_is_fresh_until_a_file_changes(project):
    assert is_fresh(project)
    (project.project_dir / "models" / "orders.sql").write_text("select 22")
    assert not is_fresh(project)


def test_a_manifest_is_not_fresh_when_nobody_knows_what_it_was_built_from(project):
    staleness.list_path(project.manifest).unlink()
    assert not is_fresh(project)


def test_a_manifest_is_not_fresh_when_it_is_missing_or_damaged(project):
    project.manifest.write_text("{")
    assert not is_fresh(project)
    project.manifest.unlink()
    assert not is_fresh(project)


def test_a_manifest_is_not_fresh_when_the_pins_of_dbt_are_younger(project):
    os.utime(project.manifest.with_name("pins.txt"))
    os.utime(project.manifest, (2, 2))
    assert not is_fresh(project)


def test_a_manifest_with_a_selection_is_not_fresh(project):
    assert not is_fresh(project._replace(select="tag:daily"))
    write_manifest(project, selected=["model.shop.orders"])
    assert not is_fresh(project)


# --- the report


def task(name, state, start=None, end=None):
    day = "2026-01-01T00:00:"
    return {
        "task_id": name,
        "state": state,
        "start_date": start and f"{day}{start}Z",
        "end_date": end and f"{day}{end}Z",
        "try_number": 1,
    }


TASKS = [
    task("model.shop.b", "success", "02.5", "04"),
    task("model.shop.a", "success", "01", "02.25"),
    task("test.shop.a", "failed", "03", "03.5"),
    task("model.shop.c", "upstream_failed", None, "04"),
    task("model.shop.d", None),
]


def test_the_table_is_in_the_order_of_the_tasks_starts():
    assert report.table(TASKS) == [
        "state           seconds  task",
        "success             1.2  model.shop.a",
        "success             1.5  model.shop.b",
        "failed              0.5  test.shop.a",
        "upstream_failed          model.shop.c",
        "not started              model.shop.d",
    ]


def test_the_summary_counts_the_tasks_by_state():
    assert report.summary(TASKS, 12.34) == (
        "5 tasks in 12.3 seconds: 2 success, 1 failed, 1 upstream_failed, 1 not started"
    )


def test_only_what_has_changed_is_news():
    before = {"model.shop.a": "success", "test.shop.a": "running"}
    assert [task["task_id"] for task in report.changes(before, TASKS)] == [
        "test.shop.a",
        "model.shop.b",
        "model.shop.c",
    ]


def test_a_line_of_progress_counts_the_tasks():
    assert report.progress(TASKS[0], 7, 12) == "   7/12  success             1.5  model.shop.b"


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.100000+00:00"])
def test_a_timestamp_is_read_by_every_python(text):
    expected = datetime(2026, 1, 2, 3, 4, 5, 100_000, tzinfo=timezone.utc)
    assert report.instant(text) == expected


# --- a run that is interrupted


class Busy:
    """An API whose run is interrupted; the scheduler is about to write this run's state.

    It refuses to end the run, as often as `refusals` says; then its scheduler overwrites the state,
    as often as `overwrites` says.
    """

    def __init__(self, refusals: int, overwrites: int) -> None:
        self.refusals, self.overwrites = refusals, overwrites
        self.states = ["running"]

    def trigger(self, _run_id):
        raise KeyboardInterrupt

    def end_run(self, _run_id):
        if self.refusals:
            self.refusals -= 1
            raise LocalError("Airflow answered 500")
        self.states = ["failed"]
        if self.overwrites:
            self.overwrites -= 1
            self.states = ["success", "failed"]

    def run_state(self, _run_id):
        return self.states.pop() if len(self.states) > 1 else self.states[0]


@pytest.mark.parametrize(("refusals", "overwrites"), [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_an_interrupted_run_is_ended_though_the_scheduler_is_in_the_way(
    at, monkeypatch, refusals, overwrites
):
    monkeypatch.setattr(follow, "POLL_SECONDS", 0)
    api = Busy(refusals, overwrites)
    with pytest.raises(KeyboardInterrupt):
        follow.run(at, api, "up", 1, {})
    assert (api.states, api.refusals, api.overwrites) == (["failed"], 0, 0)
