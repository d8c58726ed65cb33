"""The command of an Airflow task, which speaks to the warm dbt itself."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading

import pytest
from cryptography.fernet import Fernet

from include.engine import settings
from include.engine.run import shared_manifests
from include.engine.run.environment import local_paths
from include.engine.run.process import (
    DbtProcess,
    parse_command,
    shell_command,
    start_warm_dbt,
)
from include.engine.warm import client, protocol

from .conftest import DBT, LAUNCHER, Warm, eventually
from .test_processes import asleep
from .test_same_as_cold import plain_log

NO_SHELL = {"PATH": "/nowhere"}  # finds no dbt: what runs was handed over by the task itself
SHELL = {"PATH": f"{LAUNCHER.parent}:{os.environ['PATH']}"}


@pytest.fixture
def task(shop, caplog):
    """Runs a command as a task does. Tells exit code, last line, and what dbt said."""
    caplog.set_level(logging.INFO)

    def run(warm: Warm, *argv: str, hook: DbtProcess | None = None, **env: str) -> tuple:
        caplog.clear()
        _, environment, target = warm.command(shop)
        environment |= env | {"DBT_TARGET_PATH": str(target), "DBT_LOG_PATH": str(target / "logs")}
        hook = hook or DbtProcess(DBT, warm=True)
        hook._log = logging.getLogger("task")
        ended = hook.run_command(["/bin/bash", "-c", shell_command(argv)], env=environment)
        said = [record.getMessage() for record in caplog.records]
        said = "\n".join(said[said.index("Output:") + 1 :]).replace(str(target), "TARGET")
        return ended.exit_code, ended.output, said

    return run


def test_one_that_was_started_before_takes_the_first_command(own_warm, shop, task, monkeypatch):
    """As the scheduler does; a second one finds it there."""
    for name in [name for name in os.environ if name.startswith(protocol.INHERITED)]:
        monkeypatch.delenv(name)
    for name, value in own_warm.env.items():
        monkeypatch.setenv(name, value)
    start_warm_dbt(DBT, os.environ)
    start_warm_dbt(DBT, os.environ)
    assert eventually(lambda: len(own_warm.servers()) == 1)
    listed = task(
        own_warm, "ls", "--quiet", "--resource-type", "model", "--select", "one", **NO_SHELL
    )
    assert listed[:2] == (0, "shop.one")


@pytest.mark.parametrize(
    "argv",
    [("run", "--select", "one"), ("test", "--select", "one"), ("ls", "--no-such-option")],
    ids=" ".join,
)
def test_same_as_through_a_shell(warm, shop, task, argv):
    """Exit code and log; the quoted text too, as it is one word."""
    warm.run(shop, "ls")
    vars = "{'word': \"it's\"}"
    through = task(warm, *argv, "--vars", vars, hook=DbtProcess(DBT, warm=False), **SHELL)
    itself = task(warm, *argv, "--vars", vars, **NO_SHELL)
    for part in (1, 2):
        assert plain_log(itself[part], "TARGET") == plain_log(through[part], "TARGET")
    assert itself[0] == through[0] == {"run": 0, "test": 1, "ls": 2}[argv[0]]
    assert f"return code {itself[0]}" in itself[2]


def test_working_folder_and_streams(warm, shop, task):
    """A new folder, which PWD names; no input; the environment that it is given and no other."""
    warm.run(shop, "ls")
    inline = "select '{{ env_var('PWD') }}' as pwd, '{{ env_var('HOME', 'none') }}' as home"
    argv = ("show", "--inline", inline, "--output", "json")
    code, _, said = task(warm, *argv, **NO_SHELL, HOME="/x")
    assert code == 0
    assert '"home": "/x"' in said
    assert '"pwd": "' in said and "airflowtmp" in said.partition('"pwd": "')[2]


def test_first_command_starts_the_warm_dbt(own_warm, task):
    """By the launcher; those after it need none."""
    assert task(own_warm, "ls", "--select", "one", **NO_SHELL)[0] == 127
    assert own_warm.servers() == []
    assert task(own_warm, "ls", "--select", "one", **SHELL)[0] == 0
    (server,) = own_warm.servers()
    assert task(own_warm, "ls", "--select", "one", **NO_SHELL)[0] == 0
    assert own_warm.servers() == [server]


def test_what_is_not_served_goes_to_the_launcher(warm, shop, task):
    """Which says why it runs cold."""
    warm.run(shop, "ls")
    code, _, said = task(warm, "compile", "--select", "one", **SHELL)
    assert (code, "dbt starts cold: `dbt compile` gains nothing" in said) == (0, True)


def test_pods_share_what_one_of_them_has_parsed(own_warm, shop, task, tmp_path, monkeypatch):
    """The second one has an empty disk. No server is there, and none is started."""
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    place = str(tmp_path / "shared")
    local = shared_manifests.own_copy(place)
    env = {"AIRFLOW_IS_K8S_EXECUTOR_POD": "True", "DBT_MANIFEST_CACHE": local, **SHELL}
    parsed = []
    for _ in range(2):
        hook = DbtProcess(DBT, warm=True, shared=place)
        code, _, said = task(own_warm, "run", "--select", "one", hook=hook, **env)
        assert (code, "dbt starts cold: one task per pod" in said) == (0, True)
        parsed.append("Starting full parse" in said)
        shutil.rmtree(local)
    assert parsed == [True, False]
    assert own_warm.servers() == []


def test_termination_ends_the_query(warm, shop, query, task):
    """What Airflow's on_kill does."""
    warm.run(shop, "ls")
    hook = DbtProcess(DBT, warm=True)

    def terminate():
        assert eventually(lambda: asleep(query), 60)
        hook.send_sigterm()

    terminating = threading.Thread(target=terminate)
    terminating.start()
    code, _, said = task(warm, "run", "--select", "sleep", hook=hook, **NO_SHELL)
    terminating.join()
    assert (code, "it is not run again" in said) == (-signal.SIGTERM, False)
    assert eventually(lambda: not asleep(query), 15)
    assert eventually(lambda: len(warm.processes()) == 1, 15), "the worker has ended"


def test_termination_before_the_start(warm, shop, query):
    """The server of a first command may keep it waiting for long."""
    warm.run(shop, "ls")
    query("drop table if exists shop.one")
    _, environment, _ = warm.command(shop)
    hook = DbtProcess(DBT, warm=True)
    hook.send_sigterm()
    shell = ["/bin/bash", "-c", shell_command(("run", "--select", "one"))]
    assert hook.run_command(shell, env=environment | NO_SHELL) == (-signal.SIGTERM, "")
    assert eventually(lambda: len(warm.processes()) == 1, 15), "the worker has ended"
    assert query("select to_regclass('shop.one')") == [(None,)]


def test_timeout_ends_the_query(warm, shop, query, task):
    """Airflow raises its timeout in the middle of the command, and calls on_kill afterwards."""
    warm.run(shop, "ls")
    hook = DbtProcess(DBT, warm=True)

    class Timeout(BaseException):
        pass

    def late(*_):
        raise Timeout

    def wait():
        assert eventually(lambda: asleep(query), 60)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, late)
    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        with pytest.raises(Timeout):
            task(warm, "run", "--select", "sleep", hook=hook, **NO_SHELL)
    finally:
        waiting.join()
        signal.signal(signal.SIGUSR1, before)
    hook.send_sigterm()
    assert eventually(lambda: not asleep(query), 15)
    assert eventually(lambda: len(warm.processes()) == 1, 15), "the worker has ended"


def test_worker_killed_is_not_run_again(warm, shop, query, task):
    warm.run(shop, "ls")
    (server,) = warm.servers()

    def kill():
        assert eventually(lambda: asleep(query), 60)
        (worker,) = [pid for pid, above in warm.processes().items() if above == server]
        os.kill(worker, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    code, last, said = task(warm, "run", "--select", "sleep", **SHELL)
    killing.join()
    assert (code, last, said.count("Running with dbt")) == (2, client.LOST, 1)
    for (pid,) in asleep(query):
        query(f"select pg_terminate_backend({pid})")


def test_leaves_nothing_open(warm, shop, task):
    warm.run(shop, "ls")
    task(warm, "ls", **NO_SHELL)
    before = sorted(os.listdir("/proc/self/fd"))
    task(warm, "ls", **NO_SHELL)
    task(warm, "compile", "--no-such-option", **SHELL)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "argv", [["run"], ["run", "--select", "a b"], ["ls", "--vars", "{a: '$(date)'}"], ["ls", ""]]
)
def test_words_of_a_plain_command(argv):
    assert parse_command(shell_command(argv)) == argv


@pytest.mark.parametrize(
    "text",
    [
        "dbt run --select $MODEL < /dev/null",
        "dbt run; dbt test < /dev/null",
        "DBT_HOOKS=none dbt run < /dev/null",
        "dbt run",
        "dbt run 'without an end < /dev/null",
        "rm run < /dev/null",
        "< /dev/null",
    ],
)
def test_a_shell_is_for_all_else(text):
    assert parse_command(text) == []


def test_a_task_has_results_though_the_project_writes_no_json(warm, project):
    file = project / "dbt_project.yml"
    file.write_text(file.read_text().replace("flags: {", "flags: {write_json: false, "))
    given = local_paths(settings.load(), project, os.environ["PATH"])
    variables = {"DBT_WRITE_JSON": given["DBT_WRITE_JSON"]}
    without = warm.run(project, "run", "--select", "one")
    assert (without.code, (without.target / "run_results.json").exists()) == (0, False)
    done = warm.run(project, "run", "--select", "one", **variables)
    found = {r["unique_id"]: r["status"] for r in done.artifact("run_results.json")["results"]}
    assert found == {"operation.shop.shop-on-run-start-0": "success", "model.shop.one": "success"}
