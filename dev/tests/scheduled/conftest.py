"""A local Airflow and Postgres in a folder of their own, away from the person's `.airflow`."""

from __future__ import annotations

import email
import json
from collections.abc import Callable, Iterator, Mapping
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from dev.tests import sample
from dev.tests.scheduled.installation import dag_arguments, dbt_beside, finish, start, up
from include.engine import settings
from scripts.local.api import Api
from scripts.local.paths import Paths, installation_paths
from scripts.local.ports import free_port

STUB_DBT = f"""\
#!/bin/sh
# Stands in for dbt where a test is about Airflow. To compile is still dbt's.
case "$1" in compile|parse|deps|ls) exec "{settings.load().dbt_executable}" "$@";; esac
echo "in $(pwd)"
echo "dbt $*"
case "$*" in *"$STUB_FAILS"*) exit 1;; esac
exec sleep "${{STUB_SLEEPS:-0}}"
"""


@pytest.fixture(scope="session")
def stub_dbt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which tasks run a stand-in for dbt that takes no time.

    STUB_SLEEPS is the seconds that it takes, STUB_FAILS what the arguments of one that fails hold.
    """
    program = tmp_path_factory.mktemp("stub") / "dbt"
    program.write_text(STUB_DBT)
    program.chmod(0o755)
    return {"DBT_EXECUTABLE": str(program), "STUB_FAILS": "none of them"} | dag_arguments(retries=0)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """The paths of an installation that the tests of one file share, stopped at their end."""
    # A space, and a path longer than a Unix socket may have.
    state = tmp_path_factory.mktemp("state") / f"a {'long ' * 20}path"
    yield installation_paths(str(state), str(sample.DAGS))
    start("down", at=installation_paths(str(state), str(sample.DAGS))).wait(timeout=60)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the results of runs are kept."""
    return tmp_path_factory.mktemp("all runs")


@pytest.fixture(scope="module")
def environment(project: Path, runs: Path, tmp_path_factory) -> dict[str, str]:
    """The environment of an Airflow that is about the `project` of the file."""
    return {
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_MANIFEST": str(tmp_path_factory.mktemp("manifest") / "manifest.json"),
        "DBT_RUNS": str(runs),
    }


@pytest.fixture(scope="module")
def api(at: Paths, environment: dict[str, str]) -> Api:
    """Airflow, as `make up` starts it in the `environment` of the file."""
    return up(at, environment)[0]


@pytest.fixture(scope="module")
def dbt(at: Paths, api, project: Path, tmp_path_factory) -> Callable[..., tuple[str, dict]]:
    """Runs dbt beside Airflow on the `project` of the file; see `dbt_beside`."""
    return dbt_beside(at, project, tmp_path_factory.mktemp("target"))


@pytest.fixture
def local(at: Paths) -> Callable[..., tuple[int, str]]:
    """Carry out a verb: `local("run", environment)` returns its exit code and output."""

    def carry_out(*arguments: str, environment: Mapping[str, str] | None = None):
        return finish(start(*arguments, at=at, environment=environment))

    return carry_out


@pytest.fixture(scope="module")
def mails() -> Iterator[tuple[int, list]]:
    """A real mail server: its port, and the mails that it received."""
    received = []

    class Keep:
        async def handle_DATA(self, server, session, envelope) -> str:
            received.append(email.message_from_bytes(envelope.content, policy=default))
            return "250 OK"

    controller = Controller(Keep(), hostname="127.0.0.1", port=free_port(0))
    controller.start()
    yield controller.port, received
    controller.stop()


@pytest.fixture(scope="module")
def smtp(mails) -> dict[str, str]:
    """The variable with Airflow's connection to that server."""
    extra = {"disable_ssl": True, "disable_tls": True}
    server = {"conn_type": "smtp", "host": "127.0.0.1", "port": mails[0], "extra": extra}
    return {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(server)}
