"""Processes that outlive the command that started them: start, record, recognise and stop them.

Each process has a record, so the next command knows what runs, even if this one is killed. A record
has the pid and the start of its process: if the system has given the pid to another process, that
one is never touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from scripts.local.paths import LocalError, Paths

GRACE = 5.0  # seconds from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Record:
    """A process that the command `verb` started. `port` is where it listens, if it does."""

    name: str
    pid: int
    birth: str
    verb: str
    port: int | None = None


def birth(pid: int) -> str | None:
    """A mark that only this process with the pid `pid` has; None if there is no such process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat, boot = Path(f"/proc/{pid}/stat"), Path("/proc/sys/kernel/random/boot_id")
        if stat.exists() and boot.exists():
            # Linux: ticks since boot. The time that psutil has changes when the clock is set.
            return f"{boot.read_text().strip()}/{stat.read_text().rpartition(')')[2].split()[19]}"
        return str(process.create_time())
    except (psutil.Error, OSError):
        return None


def spawn(
    paths: Paths,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    verb: str,
    port: int | None = None,
) -> Record:
    """Start `command` in a session of its own, its output in logs/<name>.log, and record it."""
    paths.logs.mkdir(parents=True, exist_ok=True)
    paths.records.mkdir(parents=True, exist_ok=True)
    with uninterrupted(), log_of(paths, name).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=paths.state,
            start_new_session=True,
        )
        record = Record(name, process.pid, birth(process.pid) or "", verb, port)
        _record_file(paths, name).write_text(json.dumps(asdict(record)))
    return record


def log_of(paths: Paths, name: str) -> Path:
    return paths.logs / f"{name}.log"


def log_end(paths: Paths, name: str, lines: int = 15) -> str:
    """The last lines of a service's log with its path above them, for an error message."""
    log = log_of(paths, name)
    text = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"{paths.display(log)}:", *(f"  {line}" for line in text[-lines:])])


def alive(record: Record) -> bool:
    return bool(record.birth) and birth(record.pid) == record.birth


def recorded(paths: Paths) -> list[Record]:
    """The records of processes that still run. Removes the records of others."""
    records = []
    for file in sorted(paths.records.glob("*.json")):
        try:
            record = Record(**json.loads(file.read_text()))
        except (ValueError, TypeError):
            record = None
        if record and alive(record):
            records.append(record)
        else:
            file.unlink(missing_ok=True)
    return records


def stop(paths: Paths, records: Iterable[Record], first: int = signal.SIGTERM) -> None:
    """End these processes and all their descendants: with the signal `first`, and after GRACE
    seconds with SIGKILL.

    Tasks run their commands in sessions of their own, so no session or process group has all of
    them. This walks the tree of processes until it is empty.
    """
    records = [record for record in records if alive(record)]
    _end_trees([record.pid for record in records], first)
    for record in records:
        _record_file(paths, record.name).unlink(missing_ok=True)


def stop_all_with(argument: str) -> None:
    """End every process of this user with an argument that begins with `argument`."""
    pids = []
    for process in psutil.process_iter(["cmdline", "uids"]):
        ours = process.info["uids"] and process.info["uids"].real == os.getuid()
        if ours and any(word.startswith(argument) for word in process.info["cmdline"] or ()):
            pids.append(process.pid)
    _end_trees(pids)


def _end_trees(roots: Iterable[int], first: int = signal.SIGTERM) -> None:
    family: dict[int, psutil.Process] = {}
    for pid in roots:
        with suppress(psutil.Error):
            family[pid] = psutil.Process(pid)
    sent: set[tuple[int, int]] = set()
    deadline = time.monotonic() + GRACE
    while True:
        _add_children(family)
        left = [process for process in family.values() if _running(process)]
        if not left:
            return
        number = first if time.monotonic() < deadline else signal.SIGKILL
        for process in left:
            if (process.pid, number) not in sent:
                sent.add((process.pid, number))
                with suppress(psutil.Error):
                    process.send_signal(number)
        psutil.wait_procs(left, timeout=0.1)


def _add_children(family: dict[int, psutil.Process]) -> None:
    """Add to `family` every process that descends from a running member of it."""
    children = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):
        children[process.info["ppid"]].append(process)
    parents = [process for process in family.values() if _running(process)]
    while parents:
        for child in children[parents.pop().pid]:
            if child.pid not in family:
                family[child.pid] = child
                parents.append(child)


def _running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _record_file(paths: Paths, name: str) -> Path:
    return paths.records / f"{name}.json"


@contextmanager
def only_one(paths: Paths, verb: str) -> Iterator[None]:
    """Hold the lock of this state folder. Raises LocalError if another command holds it."""
    paths.records.mkdir(parents=True, exist_ok=True)
    with (paths.records / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another command"
            raise LocalError(
                f"{holder} is at work here. Wait for it, or end it with Ctrl-C."
            ) from None
        file.truncate(0)
        file.write(f"make {verb} (process {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)


def interruptible() -> None:
    """Let a closed terminal, or `kill`, end this command as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay a Ctrl-C until the end of the block, so that nothing is left half done."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda n, _: came.append(n)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def foreground(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, output=None
) -> int:
    """Run a command and return its exit code. An interrupt ends it with all that it started."""
    process = None
    try:
        with uninterrupted():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        return process.wait()
    finally:
        if process and process.returncode is None:
            with uninterrupted():
                _end_trees([process.pid])
