"""A PostgreSQL server that listens on a Unix socket only.

Only the wheel's programs are used here, not its Python code. That code builds command lines that
break on a space in a path. As root it opens the folders above the data to all users. And it stops
the server when the process ends that started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from scripts.local import processes
from scripts.local.paths import LocalError, Paths
from scripts.local.programs import configuration, locale, program, version
from scripts.local.unprivileged import as_server, give_to_server

NAME = "postgres"
PORT = 5432  # of the Unix socket, named to every client: the person's shell may have a PGPORT
START_SECONDS = 120


def start(paths: Paths, keys: Mapping[str, str], verb: str) -> None:
    """Start the server unless it runs. Make its two databases unless they exist.

    Raises LocalError, with the end of the server's log.
    """
    if running(paths):
        return
    _prepare_data(paths, keys)
    _end_forgotten_server(paths)
    _prepare_socket(paths)
    command = [*_program_on(paths.postgres_data, "postgres"), *_options(paths)]
    record = processes.spawn(paths, NAME, command, _environment(), verb)
    _wait_until_ready(paths, keys, record)
    _make_databases(paths, keys)


def running(paths: Paths) -> bool:
    return any(record.name == NAME for record in processes.recorded(paths))


def stop(paths: Paths) -> None:
    """Stop the server if it runs. SIGINT ends its sessions and writes everything to disk."""
    records = [record for record in processes.recorded(paths) if record.name == NAME]
    processes.stop(paths, records, signal.SIGINT)
    if not running(paths):
        shutil.rmtree(paths.sockets, ignore_errors=True)


@contextmanager
def cursor(
    paths: Paths, keys: Mapping[str, str], database: str
) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor on `database`, as its owner. Each statement is committed at once."""
    owner = "warehouse" if database == "warehouse" else "airflow"
    connection = psycopg2.connect(
        host=str(paths.postgres_socket),
        port=PORT,
        dbname=database,
        user=owner,
        password=keys["warehouse" if owner == "warehouse" else "postgres"],
        connect_timeout=5,
    )
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()


def psql(paths: Paths, keys: Mapping[str, str], statement: str | None) -> int:
    """Run psql on the warehouse: with `statement`, or as a prompt. Returns its exit code."""
    command = [str(program("psql")), "-X", "-h", str(paths.postgres_socket), "-p", str(PORT)]
    command += ["-U", "warehouse"]
    command += ["-P", "pager=off", "-c", statement] if statement else []
    environment = {**os.environ, "PGPASSWORD": keys["warehouse"], "PGDATABASE": "warehouse"}
    with processes.uninterrupted():  # Ctrl-C is for psql: it ends the statement, not the session
        return subprocess.run(command, env=environment).returncode


def _program_on(data: Path, name: str) -> list[str]:
    return [*as_server(program(name), data.parent), str(program(name)), "-D", str(data)]


def _options(paths: Paths) -> list[str]:
    options = {**configuration(), "unix_socket_directories": str(paths.postgres_socket)}
    return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]


def _environment() -> dict[str, str]:
    """What the server needs, without the PG* variables and the locale of the user's shell."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _prepare_data(paths: Paths, keys: Mapping[str, str]) -> None:
    """Make the data folder, unless it exists. An interrupt leaves none."""
    made_by = paths.postgres_data / "PG_VERSION"
    if made_by.exists():
        if (present := made_by.read_text().strip()) != str(version()):
            raise LocalError(
                f"{paths.display(paths.postgres_data)} was made by PostgreSQL {present} and the "
                f"server is {version()}. Start with an empty one: make clean"
            )
        return
    unfinished = paths.postgres_data.with_suffix(".new")
    for folder in (unfinished, paths.postgres_data):
        shutil.rmtree(folder, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", prefix="dbt-airflow-") as password:
        password.write(keys["postgres"])
        password.flush()
        give_to_server(unfinished)
        give_to_server(Path(password.name))
        _initdb(paths, unfinished, password.name)
    unfinished.rename(paths.postgres_data)


def _initdb(paths: Paths, folder: Path, password_file: str) -> None:
    command = [
        *(*_program_on(folder, "initdb"), "--username=airflow", "--auth=scram-sha-256"),
        *(f"--pwfile={password_file}", "--encoding=UTF8", "--no-sync"),
        *locale(),
    ]
    log = processes.log_of(paths, "initdb")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        code = processes.foreground(command, _environment(), Path("/"), output)
    if code:
        raise LocalError(
            f"PostgreSQL could not make {paths.display(folder)}. "
            f"End of {processes.log_end(paths, 'initdb')}"
        )


def _end_forgotten_server(paths: Paths) -> None:
    """Stop a server on this data that has no record, and remove the pid file of a dead one.

    PostgreSQL refuses to start if the pid in an old file now belongs to another process of the same
    user. That happens when a container starts again.
    """
    file = paths.postgres_data / "postmaster.pid"
    if not file.exists():
        return
    first = file.read_text().partition("\n")[0]
    pid = int(first) if first.isdigit() else 0
    if str(paths.postgres_data) in _command_line(pid):
        record = processes.Record(NAME, pid, processes.birth(pid) or "", "")
        processes.stop(paths, [record], signal.SIGINT)
    file.unlink(missing_ok=True)


def _command_line(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError):
        return []


def _prepare_socket(paths: Paths) -> None:
    """Make an empty folder for the socket, which other users cannot enter."""
    above, folder = paths.sockets, paths.postgres_socket
    try:
        # Under root the server is another user, and has to pass through.
        above.mkdir(mode=0o711 if os.getuid() == 0 else 0o700, exist_ok=True)
        if above.is_symlink() or above.stat().st_uid != os.getuid():
            raise LocalError(f"{above} belongs to another user. Remove it with: sudo rm -r {above}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise LocalError(f"No folder for the Postgres socket: {error}") from None
    give_to_server(folder)


def _wait_until_ready(paths: Paths, keys: Mapping[str, str], record: processes.Record) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with cursor(paths, keys, "postgres"):
                return
        except psycopg2.OperationalError as error:
            if "authentication failed" in str(error):
                reason = f"it does not know the password in {paths.display(paths.secrets)}"
            elif not processes.alive(record):
                reason = "it stopped"
            elif time.monotonic() > deadline:
                reason = f"no answer in {START_SECONDS} seconds: {error}"
            else:
                time.sleep(0.05)
                continue
        stop(paths)
        raise LocalError(
            f"PostgreSQL did not start: {reason}. Start with an empty one: make clean. "
            f"End of {processes.log_end(paths, NAME)}"
        )


def _make_databases(paths: Paths, keys: Mapping[str, str]) -> None:
    """Databases `airflow` (its metadata) and `warehouse`, each with an owner of the same name."""
    with cursor(paths, keys, "postgres") as ask:
        ask.execute("select datname from pg_database")
        there = {name for (name,) in ask.fetchall()}
        if "airflow" not in there:
            ask.execute("create database airflow")
        if "warehouse" not in there:
            ask.execute("drop role if exists warehouse")
            password = sql.Literal(keys["warehouse"])
            ask.execute(sql.SQL("create role warehouse login password {}").format(password))
            ask.execute("create database warehouse owner warehouse")
