"""A PostgreSQL server for tests: new, fast, unsafe, and reached through a Unix socket only."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.local.programs import configuration, program
from scripts.local.unprivileged import as_server, give_to_server

UNSAFE = {"fsync": "off", "full_page_writes": "off"}


@contextmanager
def run_postgres() -> Iterator[Path]:
    """The folder of the socket of a server that ends with the block; its user is `postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has to be short
    folder.chmod(0o755)
    give_to_server(folder)
    run_as = as_server(program("postgres"), folder)
    data = folder / "data"
    create = [*run_as, program("initdb"), "-D", data, "-U", "postgres", "-A", "trust"]
    create += ["-E", "UTF8", "--no-locale", "-N"]
    control = [*run_as, program("pg_ctl"), "-D", data, "-w", "-l", folder / "log"]
    given = configuration() | UNSAFE | {"unix_socket_directories": str(folder)}
    options = " ".join(f"-c {name}='{value}'" for name, value in given.items())
    quiet: dict = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(create, **quiet)
    subprocess.run([*control, "-o", options, "start"], **quiet)
    try:
        yield folder
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder, ignore_errors=True)
