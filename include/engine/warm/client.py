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

try:
    from . import protocol
except ImportError:  # as a program this is no module of a package
    import protocol

socket = protocol.socket

# Commands whose purpose is a file in the target folder, and options that a server cannot honour,
# run cold.
WARM_COMMANDS = frozenset(
    ("build", "list", "ls", "run", "run-operation", "seed", "show", "snapshot", "source", "test")
)
COLD_WORDS = frozenset(
    ("--help", "-h", "--version", "-v", "-V", "--macro-debugging", "--record-timing-info", "-r")
)
HINT = "(with DBT_WARM=false they run with each command)"
LOST = "dbt was lost after it had begun (killed?); it is not run again"
PATIENCE = 120.0  # seconds until an answer; the first command of a project parses meanwhile


def main(real: str, arguments: list[str]) -> None:
    try:
        folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
        connection = connect_worker(real, arguments, os.environ, (0, 1, 2, folder))
    except protocol.RunCold as why:
        cold(real, arguments, str(why))
    except (EOFError, ConnectionError):
        cold(real, arguments, "its server ended before the command began")
    except OSError as error:
        cold(real, arguments, f"{error.strerror or error} (on the way to its server)")
    else:
        follow(connection)


def cold(real: str, arguments: list[str], why: str) -> None:
    """Become the real dbt; not where that would run more than the hooks that are asked for."""
    hooks = os.environ.get("DBT_HOOKS", "")
    if hooks not in ("", "none"):
        os.write(2, f"dbt cannot start cold for {hooks} hooks alone: {why} {HINT}\n".encode())
        os._exit(2)
    also = ", and hooks with it" if hooks else ""
    os.write(2, f"dbt starts cold{also}: {why}\n".encode())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that
    os.execv(real, [real, *arguments])


def connect_worker(
    real: str, arguments: list[str], environment, fds: tuple, start_server: bool = True
):
    """A connection to a worker that only waits for GO. `fds` are its standard streams and its
    working directory. Raises protocol.RunCold, EOFError or OSError where the command has to run
    cold, and protocol.RunCold where no server is there and none is to be started.
    """
    if not WARM_COMMANDS.intersection(arguments) or COLD_WORDS.intersection(arguments):
        raise protocol.RunCold(f"`dbt {' '.join(arguments[:1])}` gains nothing from a warm server")
    if not hasattr(socket, "AF_UNIX"):
        raise protocol.RunCold("this system has no Unix sockets")
    who = protocol.identity(real, environment)
    path = protocol.socket_path(who, environment)
    connection = connect(path)
    if not connection and not start_server:
        raise protocol.RunCold("it has no server yet")
    connection = connection or start_server_once(path, who, real)
    request = who, [real, *arguments], environment, fds
    try:
        answer = request_worker(connection, *request)
    except (EOFError, ConnectionError):
        connection = connect(path)
        if not connection:
            raise
        answer = request_worker(connection, *request)  # it was a worker that was just about to end
    if answer != protocol.READY:
        raise protocol.RunCold(connection.recv(1000).decode())
    connection.settimeout(None)
    return connection


def connect(path: str):
    """A connection to the server at `path`, None if no one listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    if protocol.peer_uid(connection) != os.getuid():
        raise protocol.RunCold("another user listens on its socket")
    return connection


def start_server_once(path: str, who: tuple, real: str):
    """A connection to a new parent. However many come together, one of them starts it.

    The socket listens before its server exists, so the others connect and wait; if the server dies
    on its way, their connections break and they run cold.
    """
    lock = os.open(os.path.join(os.path.dirname(path), "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = connect(path)
        if connection:
            return connection
        if os.path.lexists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(1024)
        spawn_server(listener.fileno(), path, who, real)
        listener.close()
        return connect(path)
    finally:
        os.close(lock)


def spawn_server(listener: int, path: str, who: tuple, real: str) -> None:
    """Start the server with nothing of this process: no terminal, folder, stream or secret."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.dup2(listener, 3)
        os.set_inheritable(3, True)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        os.umask(0o077)
        idle = os.environ.get("DBT_WARM_IDLE") or "600"
        environment = {**dict(who[-1]), "PATH": os.defpath, "DBT_SEND_ANONYMOUS_USAGE_STATS": "0"}
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
        python = protocol.python_of(real)
        os.execve(python, [python, server, real, path, idle], environment)
    finally:
        os._exit(1)


def request_worker(connection, who: tuple, words: list[str], environment, fds: tuple) -> bytes:
    """Send the request; the first byte of the answer."""
    connection.settimeout(PATIENCE)
    umask = os.umask(0)
    os.umask(umask)
    variables = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    # In the format that every Python reads: client and server may be of different versions.
    request = marshal.dumps((who, words, variables, umask), 2)
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    connection.sendmsg(
        [len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    )
    connection.sendall(request)
    return protocol.receive(connection, 1)


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
