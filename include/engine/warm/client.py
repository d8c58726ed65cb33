"""`client.py REAL_DBT ARGUMENTS…`: runs one dbt command through the warm server, else cold.

`bin/dbt` starts it. An Airflow task that finds a server uses `connect_worker` alone
(run/process.py). The client hands a worker its arguments, environment, umask, working directory
and standard streams, passes signals on, and ends as the command ends. Until it has said GO, it may
become the real dbt. After that the command is never run a second time.
"""

import _signal as signal  # with _socket: half the start of `signal` and `socket`, see protocol.py
import fcntl
import marshal
import os
import sys
import time

try:
    from . import protocol
except ImportError:  # as a program this is no module of a package
    import protocol

socket = protocol.socket

LOST = "dbt was lost after it had begun (killed?); it is not run again"
SILENCE = 20.0  # seconds without a sign of life; a server that parses or imports gives signs
LARGEST_LOG = 1_000_000  # bytes


def main(real: str, arguments: list[str]) -> None:
    try:
        folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
        connection = connect_worker(real, arguments, os.environ, (0, 1, 2, folder))
    except protocol.RunCold as reason:
        run_cold(real, arguments, str(reason))
    except OSError as error:
        run_cold(real, arguments, f"{error.strerror or error} (on the way to its server)")
    else:
        follow(connection)


def run_cold(real: str, arguments: list[str], reason: str) -> None:
    """Become the real dbt; through Python where hooks are asked for, or are to be left out, for a
    command of a DAG run, and where the manifest may have been parsed before.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that
    if any(map(os.environ.get, ("DBT_HOOKS", "DBT_MANIFEST_CACHE", "DBT_RUN_STARTED_AT"))):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cold.py")
        python = protocol.python_of(real)
        os.execv(python, [python, program, reason, real, *arguments])
    os.write(2, f"dbt starts cold: {reason}\n".encode())
    os.execv(real, [real, *arguments])


def connect_worker(
    real: str, arguments: list[str], environment, fds: tuple, start_server: bool = True
):
    """A connection to a worker that only waits for GO. `fds` are its standard streams and its
    working directory. Raises protocol.RunCold or OSError where the command has to run cold, and
    protocol.RunCold where no server is there and none is to be started.
    """
    if not protocol.may_be_warm(arguments):
        raise protocol.RunCold(f"`dbt {' '.join(arguments[:1])}` gains nothing from a warm server")
    if not hasattr(socket, "AF_UNIX"):
        raise protocol.RunCold("this system has no Unix sockets")
    identity = protocol.identity(real, environment)
    path = protocol.socket_path(identity, environment)
    connection = connect(path)
    if not connection and not start_server:
        raise protocol.RunCold("it has no server yet")
    request = identity, [real, *arguments], environment, fds
    try:
        connection = connection or start_server_once(path, identity, real)
        try:
            request_worker(connection, *request)
        except (EOFError, ConnectionError):  # it was a worker that was just about to end
            connection = connect(path)
            request_worker(connection, *request)
    except TimeoutError:
        retire(path)
        raise protocol.RunCold(f"its server gave no sign of life for {SILENCE:.0f} s") from None
    except (EOFError, ConnectionError):
        log = protocol.beside(path, ".log")
        raise protocol.RunCold(f"its server ended before the command began; see {log}") from None
    connection.settimeout(None)
    return connection


def connect(path: str):
    """A connection to the server at `path`, None if no server listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SILENCE)  # it takes no more where too many wait for a server that hangs
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BlockingIOError:
        raise protocol.RunCold("its server has too many clients") from None
    if protocol.peer_uid(connection) != os.getuid():
        raise protocol.RunCold("another user listens on its socket")
    return connection


def retire(path: str) -> None:
    """Let the next client start another server, where this one hangs: a server without its socket
    ends when it can. One that was started within the time that this client waited is left alone.
    """
    lock = lock_folder(path)
    try:
        status = os.lstat(path)
        if time.time() - status.st_mtime >= SILENCE:
            os.unlink(path)
    except OSError:
        pass  # another client was here first
    finally:
        os.close(lock)


def lock_folder(path: str) -> int:
    lock = os.open(os.path.join(os.path.dirname(path), "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def start_server_once(path: str, identity: tuple, real: str):
    """A connection to a new server. However many come together, one of them starts it.

    The socket listens before its server exists, so the others connect and wait; if the server dies
    on its way, their connections break and they run cold.
    """
    lock = lock_folder(path)
    try:
        connection = connect(path)
        if connection:
            return connection
        if os.path.lexists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(1024)
        spawn_server(listener.fileno(), path, identity, real)
        listener.close()
        return connect(path)
    finally:
        os.close(lock)


def spawn_server(listener: int, path: str, identity: tuple, real: str) -> None:
    """Start the server with nothing of this process: no terminal, folder, stream or secret."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0o077)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        log = os.open(protocol.beside(path, ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(log).st_size > LARGEST_LOG:
            os.ftruncate(log, 0)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(listener, 3)
        os.set_inheritable(3, True)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        idle = os.environ.get("DBT_WARM_IDLE") or "600"
        environment = {
            **dict(identity[-1]), "PATH": os.defpath, "DBT_SEND_ANONYMOUS_USAGE_STATS": "0",
        }  # fmt: skip
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
        python = protocol.python_of(real)
        os.execve(python, [python, server, real, path, idle], environment)
    finally:
        os._exit(1)


def request_worker(connection, identity: tuple, words: list[str], environment, fds: tuple) -> None:
    """Send the request to a worker, which is ready then. The worker speaks first: what a client
    sends to a server that hangs, its streams, would stay open as long as that hangs.
    """
    if not connection:
        raise EOFError("the server has ended")
    expect(connection, protocol.HELLO)
    umask = os.umask(0)
    os.umask(umask)
    variables = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    # In the format that every Python reads: client and server may be of different versions.
    request = marshal.dumps((identity, words, variables, umask), 2)
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    connection.sendmsg(
        [len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    )
    connection.sendall(request)
    expect(connection, protocol.READY)


def expect(connection, word: bytes) -> None:
    """Wait for that word. Raises RunCold with the reason that comes instead of it, TimeoutError
    if nothing comes, and EOFError or ConnectionError if the other side ends.
    """
    connection.settimeout(SILENCE)
    while (answer := protocol.receive(connection, 1)) == protocol.WAIT:
        pass
    if answer == protocol.COLD:
        raise protocol.RunCold(connection.recv(1000).decode(errors="replace"))
    if answer != word:
        raise protocol.RunCold(f"its server said {answer!r} instead of {word!r}")


def follow(connection) -> None:
    """Say GO, pass signals on, end as the command ends."""
    signals = []

    def forward(number, _frame):
        signals.append(number)
        try:
            connection.send(bytes([number]))
        except OSError:
            pass  # the command has just ended

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    code = 2
    try:
        connection.sendall(protocol.GO)
        code = protocol.receive(connection, 2)[1]
    except (EOFError, OSError):
        if not signals:
            os.write(2, f"{LOST}\n".encode())
    deadly = [number for number in signals if number != signal.SIGINT]
    if deadly:  # as the cold dbt would have died
        signal.signal(deadly[0], signal.SIG_DFL)
        os.kill(os.getpid(), deadly[0])
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
