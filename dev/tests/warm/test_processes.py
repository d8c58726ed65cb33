"""Signals, deaths, ends, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from .conftest import eventually

LIST = ("-q", "ls", "--select", "one", "--resource-type", "model")


def asleep(query, seconds=60):
    """Is a backend executing pg_sleep?"""
    found = f"""
        select pid from pg_stat_activity where state = 'active' and pid <> pg_backend_pid()
        and query like '%pg_sleep({seconds})%'"""
    return query(found)


@pytest.mark.parametrize("where", ["model", "hook"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_the_query(warm, shop, query, number, where):
    """As Airflow sends it, to the process group. A hook runs in dbt's main thread."""
    if where == "model":
        process = warm.start(shop, "run", "--select", "sleep")
    else:
        process = warm.start(shop, "run", "--select", "one", HOOK_SLEEP="60")
    assert eventually(lambda: asleep(query), 60)
    os.killpg(process.pid, number)
    assert warm.wait(process).code == -number
    assert eventually(lambda: not asleep(query), 15)
    assert eventually(lambda: len(warm.processes()) == 1, 15), "the worker has ended"


def test_server_killed_during_a_command_harms_nothing(own_warm, shop, query):
    """The worker owns its client's connection; the next command starts a new server."""
    own_warm.run(shop, "ls")
    (server,) = own_warm.servers()
    process = own_warm.start(shop, "run", "--select", "nap")
    assert eventually(lambda: asleep(query, 3), 60)
    os.kill(server, signal.SIGKILL)
    result = own_warm.wait(process)
    assert (result.code, result.cold) == (0, False), result.text
    again = own_warm.run(shop, "ls")
    assert (again.code, again.cold) == (0, False)
    assert own_warm.servers() != [server]


def test_server_killed_before_the_start_means_cold(own_warm, shop):
    own_warm.run(shop, "ls")
    (server,) = own_warm.servers()
    os.kill(server, signal.SIGSTOP)
    process = own_warm.start(shop, "ls", "--select", "one")
    time.sleep(2)
    os.kill(server, signal.SIGKILL)
    result = own_warm.wait(process)
    assert (result.code, result.cold) == (0, True)
    assert "shop.one" in result.text


def test_worker_killed_is_not_run_again(warm, shop, query):
    process = warm.start(shop, "run", "--select", "sleep")
    assert eventually(lambda: asleep(query), 60)
    (server,) = warm.servers()
    (worker,) = [pid for pid, above in warm.processes().items() if above == server]
    os.kill(worker, signal.SIGKILL)
    result = warm.wait(process)
    assert (result.code, result.cold) == (2, False)
    assert "it is not run again" in result.text
    assert eventually(lambda: not asleep(query), 15), "Postgres notices that its client is gone"


def test_killed_cold_dbt_leaves_no_query(warm, shop, query):
    """As when the memory of a machine or a pod is used up."""
    process = warm.start(shop, "run", "--select", "sleep", DBT_WARM="false")
    assert eventually(lambda: asleep(query), 60)
    os.kill(process.pid, signal.SIGKILL)
    assert warm.wait(process).code == -signal.SIGKILL
    assert eventually(lambda: not asleep(query), 15), "Postgres notices that its client is gone"


def test_many_clients_start_one_server(own_warm, shop):
    """50 at once, and none of them runs cold."""
    processes = [own_warm.start(shop, *LIST) for _ in range(50)]
    servers = set()
    while any(process.poll() is None for process in processes):
        servers.update(own_warm.servers())
        time.sleep(0.5)
    results = [own_warm.wait(process) for process in processes]
    assert {(r.code, r.text) for r in results} == {(0, "shop.one\n")}
    assert len(servers) == 1
    assert sum(r.parsed for r in results) == 1


def test_idle_server_ends(own_warm, shop):
    own_warm.run(shop, "ls", DBT_WARM_IDLE="1")
    assert eventually(lambda: not own_warm.processes())
    assert sorted(path.suffix for path in own_warm.folder.iterdir()) == ["", ".log"]


def test_server_that_is_to_stay_does_not_end(own_warm, shop):
    own_warm.run(shop, "ls", DBT_WARM_IDLE="0")
    (server,) = own_warm.servers()
    assert eventually(lambda: rests(server) and len(own_warm.processes()) == 1, 60)
    time.sleep(6)
    assert own_warm.servers() == [server]
    assert own_warm.run(shop, *LIST).text == "shop.one\n"


def test_server_without_its_folder_ends(own_warm, shop):
    own_warm.run(shop, "ls")
    for path in own_warm.folder.iterdir():
        path.unlink()
    assert eventually(lambda: not own_warm.processes())


def test_nothing_grows(warm, shop, tmp_path):
    """Memory, descriptors, processes and files, over DBT_WARM_COMMANDS commands."""
    for _ in range(5):
        warm.run(shop, *LIST)
    (server,) = warm.servers()
    assert eventually(lambda: rests(server) and len(warm.processes()) == 1, 60)
    before = state(warm, server)
    for _ in range(int(os.environ.get("DBT_WARM_COMMANDS", "30"))):
        result = warm.run(shop, *LIST, TMPDIR=str(tmp_path))
        assert (result.code, result.text) == (0, "shop.one\n")
        shutil.rmtree(result.target)
    assert eventually(lambda: state(warm, server)[0] == before[0], 10)
    assert state(warm, server)[1] <= before[1] + 1024
    assert list(tmp_path.iterdir()) == []


def rests(server) -> bool:
    """Whether the server has prepared all that it can: it did nothing for half a second."""
    done = []
    for _ in range(2):
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        done.append(fields[11:13])
        time.sleep(0.5)
    return done[0] == done[1]


def state(warm, server):
    """What is countable of the server, and its memory in KB."""
    status = Path(f"/proc/{server}/status").read_text()
    memory = next(int(ln.split()[1]) for ln in status.splitlines() if ln.startswith("RssAnon"))
    workers = sum(f"PPid:\t{server}\n" in text for text in _statuses())
    open_files = sorted(os.readlink(fd) for fd in Path(f"/proc/{server}/fd").iterdir())
    return (open_files, workers, sorted(p.name for p in warm.folder.iterdir())), memory


def _statuses():
    """Of all processes, so that a zombie or a helper of the server is seen."""
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            yield path.read_text()


def test_server_holds_nothing_of_its_client(warm, shop):
    """No stream, folder, terminal, variable or secret: not in its memory, and not in its log."""
    secret = "hunter2-" + "never-in-the-server"[::-1]
    assert warm.run(shop, "run", "--select", "one", DBT_ENV_SECRET_PASSWORD=secret).code == 0
    (server,) = warm.servers()
    proc = Path(f"/proc/{server}")
    kinds = {os.readlink(fd).split(":")[0] for fd in (proc / "fd").iterdir()}
    (log,) = warm.folder.glob("*.log")
    assert kinds == {"/dev/null", "socket", str(log)}
    assert secret not in log.read_text()
    assert os.readlink(proc / "cwd") == "/"
    assert os.getsid(server) != os.getsid(0)
    assert secret.encode() not in (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
    assert b"PGHOST" not in (proc / "environ").read_bytes()
    assert not in_memory(proc, secret.encode())
    assert in_memory(proc, b"model.shop.one"), "the search itself works"


def in_memory(proc: Path, needle: bytes) -> bool:
    with open(proc / "mem", "rb", 0) as memory:
        for line in (proc / "maps").read_text().splitlines():
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(x, 16) for x in span.split("-"))
                memory.seek(start)
                try:
                    if needle in memory.read(end - start):
                        return True
                except OSError:
                    continue
    return False


def test_umask_and_folder_are_the_clients(warm, shop, tmp_path):
    argv, env, target = warm.command(shop, "run", "--select", "one")
    pid = os.fork()
    if not pid:
        os.umask(0o027)
        os.chdir(tmp_path)
        arguments = ["dbt", "-q", *map(str, argv[1:-1]), "logs"]
        os.execve(argv[0], arguments, env)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "logs" / "dbt.log").stat().st_mode & 0o777 == 0o640
    assert (target / "run_results.json").stat().st_mode & 0o777 == 0o640


def test_socket_is_not_for_others(own_warm, shop):
    """Not even where somebody has opened the folder and the socket: the server asks who it is."""
    if os.getuid():
        pytest.skip("needs root, to become another user")
    own_warm.run(shop, "ls")
    (path,) = own_warm.folder.glob("*.sock")
    assert own_warm.folder.stat().st_mode & 0o777 == 0o700
    assert as_nobody(lambda: talk(path)) == "PermissionError"
    own_warm.folder.chmod(0o755)
    path.chmod(0o777)
    assert as_nobody(lambda: talk(path)) == ""
    result = own_warm.run(shop, "ls")
    assert (result.code, "remove it" in result.text) == (0, True)


def talk(path: Path) -> str:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    client.sendall(bytes(8))
    return client.recv(100).decode()


def as_nobody(action) -> str:
    """What `action` returned, or the name of its error, in a process of the user nobody."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.setgid(65534)
        os.setuid(65534)
        try:
            text = action()
        except Exception as error:
            text = "" if isinstance(error, ConnectionResetError) else type(error).__name__
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()
