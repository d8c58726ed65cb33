"""What the tests of Airflow's UI share: an API server with a login, a whole Airflow after a run in
which things went wrong, and a browser.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from dev.tests.browser import guarded
from dev.tests.browser.picture import Theme, chromium, open_page
from dev.tests.browser.project import plant
from dev.tests.scheduled.installation import finish, start
from include.engine import settings
from scripts.local import ports
from scripts.local.api import DAG_ID, Api
from scripts.local.paths import installation_paths

if TYPE_CHECKING:
    from playwright.sync_api import Page

BASE_PATH = "/air/flow"
RUN_ID = "night"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Server:
    """An API server below a base path, where nobody is let in without a login."""

    url: str
    password: Mapping[str, str]

    def token(self, user: str) -> str:
        body = json.dumps({"username": user, "password": self.password[user]}).encode()
        made = self.send("/auth/token", {"Content-Type": "application/json"}, body)
        return json.loads(made.text)["access_token"]

    def get(
        self, path: str, user: str | None = None, method: str = "GET", **headers: str
    ) -> Answer:
        """The answer to a browser with that user's cookie; redirects are not followed."""
        cookie = {"Cookie": f"_token={self.token(user)}"} if user else {}
        return self.send(path, cookie | headers, method=method)

    def send(
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        method: str | None = None,
    ) -> Answer:
        request = urllib.request.Request(self.url + path, body, dict(headers), method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
        try:
            with opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read().decode())


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def airflow_environment(home: Path, port: int, **others: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return (
        known
        | {
            "AIRFLOW_HOME": str(home),
            "PYTHONPATH": str(settings.ROOT),
            "NO_PROXY": "*",
            "AIRFLOW__CORE__DAGS_FOLDER": str(settings.ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__AUTH_MANAGER": "dev.tests.browser.guarded.Guarded",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": (
                f"{guarded.READER}:viewer,{guarded.STRANGER}:viewer,{guarded.WITHOUT_RUNS}:viewer"
            ),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}{BASE_PATH}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of these tests alone, " * 3,
        }
        | others
    )


@pytest.fixture(scope="session")
def manifest(tmp_path_factory) -> Path:
    """A manifest of the tests' own, with dbt's documentation page beside it."""
    built = settings.load().manifest.parent
    return (
        Path(shutil.copytree(built, tmp_path_factory.mktemp("dbt") / "manifest")) / "manifest.json"
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory, manifest) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("airflow")
    port = ports.free_port(0)
    catalog = manifest.with_name("catalog.json")
    environment = airflow_environment(
        home, port, DBT_MANIFEST=str(manifest), DBT_DOCS_CATALOG=str(catalog)
    )
    airflow = [sys.executable, "-m", "airflow"]
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        subprocess.run([*airflow, *command], env=environment, check=True, capture_output=True)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*airflow, "api-server"], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        passwords = home / "simple_auth_manager_passwords.json.generated"
        wait_for(f"http://127.0.0.1:{port}{BASE_PATH}/api/v2/version", process, home / "log")
        yield Server(f"http://127.0.0.1:{port}{BASE_PATH}", json.loads(passwords.read_text()))
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            opener.open(url, timeout=10)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


@dataclass(frozen=True)
class Night:
    """A running Airflow, and the id of a run that ended with what was planted in project.py."""

    api: Api
    run_id: str

    @property
    def run(self) -> str:
        return f"/dags/{DAG_ID}/runs/{quote(self.run_id)}"

    def ended(self, run_id: str) -> str:
        """The state in which that run ends, which is waited for."""
        deadline = time.monotonic() + 300
        while (state := self.api.run_state(run_id)) in ("queued", "running"):
            assert time.monotonic() < deadline, self.api.tasks(run_id)
            time.sleep(1)
        return state

    def runs(self) -> list[dict]:
        return self.api.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?order_by=-id")["dag_runs"]


def a_run(api: Api) -> str:
    """The id of the run that the schedule makes once the DAG is switched on, or of one we make."""
    night = Night(api, RUN_ID)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if runs := night.runs():
            return runs[0]["dag_run_id"]
        time.sleep(0.5)
    api.trigger(RUN_ID)
    return RUN_ID


@pytest.fixture(scope="session")
def night(tmp_path_factory) -> Iterator[Night]:
    """`make up` on the sample project with faults planted, after a run."""
    environment = plant(tmp_path_factory.mktemp("planted"))
    at = installation_paths(str(tmp_path_factory.mktemp("state")))
    try:
        code, output = finish(start("up", "--port", "0", at=at, environment=environment))
        assert code == 0, output
        api = Api(int(re.search(r"localhost:(\d+)", output)[1]))
        api.log_in()
        night = Night(api, a_run(api))
        night.ended(night.run_id)
        yield night
    finally:
        finish(start("down", at=at))


@pytest.fixture(scope="session")
def browser() -> Iterator:
    with chromium() as found:
        yield found


@pytest.fixture
def page_in(browser, night) -> Iterator[Callable[[Theme], Page]]:
    """Opens a page of Airflow in a theme, and sees to it that nothing comes from elsewhere."""
    with ExitStack() as opened:
        hosts: set[str] = set()
        yield lambda theme: opened.enter_context(open_page(browser, night.api.url, theme, hosts))
        assert hosts == {night.api.url}


@pytest.fixture
def page(page_in) -> Page:
    return page_in("light")
