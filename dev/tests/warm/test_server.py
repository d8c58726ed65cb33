"""A server that hangs, that parses for long, that tells what it does."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

from .conftest import DBT, ROOT, eventually
from .test_processes import LIST
from .test_task import SHELL, task  # noqa: F401

STATUS = ROOT / "include" / "engine" / "warm" / "status.py"
HANGS = "its server gave no sign of life for 20 s"


def test_server_that_hangs_lets_commands_run_cold(own_warm, shop):
    """The command's output ends with it. The next command has a server, and the old one ends when
    it can.
    """
    own_warm.run(shop, "ls")
    (server,) = own_warm.servers()
    os.kill(server, signal.SIGSTOP)
    began = time.monotonic()
    result = own_warm.run(shop, *LIST, timeout=90)
    assert (result.code, result.text) == (0, f"dbt starts cold: {HANGS}\nshop.one\n")
    assert time.monotonic() - began < 60
    again = own_warm.run(shop, *LIST)
    assert (again.code, again.text) == (0, "shop.one\n")
    os.kill(server, signal.SIGCONT)
    assert eventually(lambda: server not in own_warm.processes(), 15)
    assert len(own_warm.servers()) == 1


def test_server_that_hangs_does_not_hang_a_task(own_warm, shop, task):  # noqa: F811
    own_warm.run(shop, "ls")
    (server,) = own_warm.servers()
    os.kill(server, signal.SIGSTOP)
    code, _, text = task(own_warm, "ls", "--select", "one", **SHELL)
    assert (code, "shop.one" in text) == (0, True)
    os.kill(server, signal.SIGKILL)


def workers(warm) -> list[int]:
    """The workers, by their own sessions: a server may have other children, for a moment."""
    found = []
    for pid in set(warm.processes()) - set(warm.servers()):
        with contextlib.suppress(ProcessLookupError):  # it was such a child
            if os.getsid(pid) == pid:
                found.append(pid)
    return found


def test_first_parse_may_last(own_warm, shop):
    """Longer than clients are patient with a silent server. They wait, and take its manifest."""
    first = own_warm.start(shop, *LIST)
    assert eventually(lambda: workers(own_warm), 60)
    (worker,) = workers(own_warm)
    os.kill(worker, signal.SIGSTOP)
    others = [own_warm.start(shop, *LIST) for _ in range(3)]
    time.sleep(25)
    ended = [own_warm.wait(process).text for process in others if process.poll() is not None]
    assert ended == []
    os.kill(worker, signal.SIGCONT)
    results = [own_warm.wait(process) for process in (first, *others)]
    assert [(r.code, r.cold, r.parsed) for r in results] == [
        (0, False, True), *[(0, False, False)] * 3,
    ]  # fmt: skip


def test_log_and_status(own_warm, shop):
    """Beside the socket; `make warm` shows the status, and `make warm STOP=1` ends the server."""
    own_warm.run(shop, "ls")
    own_warm.run(shop, "ls")
    (server,) = own_warm.servers()
    (path,) = own_warm.folder.glob("*.log")
    assert path.stat().st_mode & 0o777 == 0o600
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    lines = re.sub(moment, "TIME", path.read_text()).splitlines()
    assert lines == [
        f"TIME server {server} is ready",
        f"TIME server {server} caches the manifest of {shop}: 9 nodes",
    ]
    assert eventually(lambda: "commands     2" in status(own_warm), 15)
    assert re.sub(moment, "TIME", status(own_warm)).splitlines() == [
        f"server {server} of {DBT.resolve().parents[1]}, since TIME",
        f"  log          {path}",
        "  commands     2",
        f"  caches       {shop} (9 nodes)",
    ]
    assert status(own_warm, "stop").splitlines()[-1] == f"Stopped server {server}"
    assert status(own_warm) == "No warm dbt is running.\n"
    assert path.read_text().endswith(f" server {server} ends after 2 commands\n")
    assert eventually(lambda: own_warm.processes() == {})


def status(warm, *words: str) -> str:
    """What the program says, of this server alone."""
    done = subprocess.run(
        [sys.executable, STATUS, *words], env=warm.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
