"""How the dbt command of a task is started: by a warm dbt that waits for one, else with bash.

Both run the same and say the same. But bash, the launcher and its client (warm/bin/dbt) are
programs that start, for each task, only to hand its command on; here the task does that itself.
Whatever is out of the ordinary is left to them: the first command, for which a warm dbt is started,
one that has to run cold, and all else that a shell understands.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from airflow.providers.standard.hooks.subprocess import (
    SubprocessHook,
    SubprocessResult,
    working_directory,
)

from include.engine.run import shared_manifests
from include.engine.warm import client, protocol

# A task process's standard input is its socket to Airflow's supervisor: not for dbt.
STDIN = "< /dev/null"

# The unique index of Postgres that tells two sessions of one schema apart.
SCHEMA_RACE = b"pg_namespace_nspname_index"


def shell_command(argv: Iterable[str]) -> str:
    """The shell's text that runs `dbt` with `argv`."""
    return f"{shlex.join(('dbt', *argv))} {STDIN}"


def parse_command(text: str) -> list[str]:
    """The `argv` of what `command` made, [] of any other text."""
    try:
        argv = shlex.split(text.removesuffix(STDIN))[1:]
    except ValueError:
        return []
    return argv if text == shell_command(argv) else []


def lost_schema_race(environment: Mapping[str, str]) -> bool:
    """Whether the log of dbt's command says that another session created the schema meanwhile.

    Postgres can fail a `create schema if not exists` in that way. It happens when the first tasks
    of a DAG start together in an empty warehouse.
    """
    try:
        return SCHEMA_RACE in Path(environment["DBT_LOG_PATH"], "dbt.log").read_bytes()
    except (KeyError, OSError):
        return False


def start_warm_dbt(dbt: Path, environ: Mapping[str, str]) -> None:
    """Starts the warm dbt that tasks with this environment would start, unless it is there. Raises
    OSError or protocol.RunCold where there can be none.
    """
    if os.access(protocol.python_of(str(dbt)), os.X_OK):
        identity = protocol.identity(str(dbt), environ)
        path = protocol.socket_path(identity, environ)
        client.start_server_once(path, identity, str(dbt)).close()


class DbtProcess(SubprocessHook):
    """Runs the commands of the program `dbt`, through a warm one if `warm`.

    `shared` is the place of the parsed manifests that machines share, if there is one.
    """

    def __init__(self, dbt: Path, warm: bool, shared: str = "") -> None:
        super().__init__()
        self.dbt = dbt
        self.warm = warm
        self.shared = shared
        self.connection: Any = None
        self.terminated = False

    def run_command(
        self,
        command: list[str],
        env: dict[str, str] | None = None,
        output_encoding: str = "utf-8",
        cwd: str | None = None,
    ) -> SubprocessResult:
        """SubprocessHook.run_command; `command` ends with the text for the shell.

        A command that lost a race to create a schema has done nothing yet, and runs once more.
        """
        result = self._run(command, env, output_encoding, cwd)
        if result.exit_code and not self.terminated and lost_schema_race(env or {}):
            self.log.info("Another task created the same schema at this moment: once more")
            result = self._run(command, env, output_encoding, cwd)
        return result

    def _run(
        self, command: list[str], env: dict[str, str] | None, output_encoding: str, cwd: str | None
    ) -> SubprocessResult:
        result = self._start(command, env, output_encoding, cwd)
        if self.shared:
            shared_manifests.publish(self.shared)
        return result

    def _start(
        self, command: list[str], env: dict[str, str] | None, output_encoding: str, cwd: str | None
    ) -> SubprocessResult:
        argv = parse_command(command[-1])
        with working_directory(cwd) as folder:
            output = self._hand_over(argv, env, folder) if self.warm and argv and env else None
            if not output:
                self._fetch()
                return super().run_command(command, env, output_encoding, folder)
            with output, contextlib.closing(self.connection):
                if self.terminated:  # while it waited
                    return SubprocessResult(-signal.SIGTERM, "")
                return self._follow(command, output, output_encoding)

    def _fetch(self) -> None:
        """Gets what other machines have parsed, for a dbt that has parsed nothing yet."""
        if self.shared:
            shared_manifests.fetch(self.shared)

    def _hand_over(
        self, argv: Sequence[str], env: Mapping[str, str], folder: str
    ) -> IO[bytes] | None:
        """The output of a worker of the warm dbt, which waits for GO; None if there is none."""
        mine, workers_end = os.pipe()
        null, here = os.open(os.devnull, os.O_RDONLY), os.open(folder, os.O_RDONLY)
        variables = {**env, "PWD": folder}  # as a shell says it
        try:
            self.connection = client.connect_worker(
                str(self.dbt),
                argv,
                variables,
                (null, workers_end, workers_end, here),
                start_server=False,
            )
        except (protocol.RunCold, OSError):
            os.close(mine)
            return None
        finally:
            for fd in (null, workers_end, here):
                os.close(fd)
        return os.fdopen(mine, "rb")

    def _follow(self, command: Sequence[str], output: IO[bytes], encoding: str) -> SubprocessResult:
        """Say GO, log what the command says, and tell how it ended: it is run once, or not."""
        self.log.info("Running command: %s", command)
        self.log.info("Output:")
        line, code = "", 2
        try:
            self.connection.sendall(protocol.GO)
            for raw in output:
                line = raw.decode(encoding, errors="backslashreplace").rstrip()
                self.log.info("%s", line)
            code = protocol.receive(self.connection, 2)[1]
        except (EOFError, OSError):
            if self.terminated:
                code = -signal.SIGTERM
            else:
                line = client.LOST
                self.log.error("%s", line)
        self.log.info("Command exited with return code %s", code)
        return SubprocessResult(code, line)

    def send_sigterm(self) -> None:
        """SubprocessHook.send_sigterm; dbt cancels its query."""
        self.terminated = True
        if not self.connection:
            super().send_sigterm()
            return
        self.log.info("Ending the command")
        with contextlib.suppress(OSError):  # it has just ended
            self.connection.send(bytes([signal.SIGTERM]))
