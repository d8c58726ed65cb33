"""What runs inside dbt: the commands of a forked worker.

A worker calls dbt's own entry point with the client's arguments, so everything from command line to
exit code is dbt's. One thing is changed: where the manifest comes from (parsing.py).
"""

import atexit
import contextlib
import gc
import marshal
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from functools import partial

import parsing
import protocol
import reset
from dbt.adapters.factory import FACTORY
from dbt.cli import main as command_line

CANCEL_SECONDS = 5.0  # what cancelling a query may take before the process ends all the same
COMMANDS = 100  # of one worker, after which its memory is given back
YOUNG_OBJECTS = 50_000  # that a command makes between two collections: most make no more at all


def serve(
    connection: socket.socket, identity: tuple, cached: parsing.Cached, server: socket.socket
) -> None:
    """Run the command that a client asks for, and those of further clients as long as the server
    has any, one after the other; end this process.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    os.setsid()  # a signal to the client's group is the client's to pass on
    with refusing(connection):
        parsing.install(cached, partial(tell, server))
    left = COMMANDS
    while connection:
        left -= 1
        arguments = prepare(connection, identity)
        connection = next_client(server) if answer(connection, arguments, left, server) else None
    os._exit(0)


def next_client(server: socket.socket) -> socket.socket | None:
    """The connection to the next client; None if the server has none."""
    _, fds, _, _ = socket.recv_fds(server, 1, 1)
    return socket.socket(fileno=fds[0]) if fds else None


def prepare(connection: socket.socket, identity: tuple) -> list[str]:
    """The client's arguments, when all is ready to run them."""
    if protocol.peer_uid(connection) != os.getuid():
        os._exit(1)
    with refusing(connection):
        connection.sendall(protocol.HELLO)
        arguments = take_over(connection, identity)
        reset.before_command()
    connection.sendall(protocol.READY)
    return arguments


@contextlib.contextmanager
def refusing(connection: socket.socket) -> Iterator[None]:
    """Whatever goes wrong, the client hears of it, and runs its command cold."""
    try:
        yield
    except Exception as error:
        reason = "" if isinstance(error, protocol.RunCold) else f"{type(error).__name__}: "
        with contextlib.suppress(OSError):  # the client has gone
            connection.sendall(protocol.COLD + f"{reason}{error}".encode()[:999])
        os._exit(0)


def answer(
    connection: socket.socket, arguments: list[str], left: int, server: socket.socket
) -> bool:
    """Run a client's command; whether this process is as it was, and may run another one."""
    if protocol.receive(connection, 1) != protocol.GO:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = ClientLink(connection)
    client.start()
    code = run(arguments)
    again = left > 0 and code < 2 and not client.signalled and reset.is_reusable()
    code = end(code, again)
    client.over = True
    if again:
        reset.after_command()
        tell(server, "waits")
    with contextlib.suppress(OSError):
        connection.sendall(protocol.EXIT + bytes([code]))
        connection.shutdown(socket.SHUT_RDWR)
    client.join()
    connection.close()
    return again


def end(code: int, again: bool) -> int:
    """What Python does at the end of a program, and has the client see the end of its streams; the
    exit code.
    """
    if not again:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120  # as Python does
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    return code


def take_over(connection: socket.socket, identity: tuple) -> list[str]:
    """The client's arguments; its streams, folder, umask and environment become this process's."""
    connection.settimeout(30)
    size, fds, _, _ = socket.recv_fds(connection, 8, 4)
    theirs, arguments, environment, umask = marshal.loads(
        protocol.receive(connection, int.from_bytes(size, "big"))
    )
    connection.settimeout(None)
    if theirs != identity:
        raise protocol.RunCold("its server belongs to another environment")
    for stream, fd in zip((0, 1, 2), fds[:3], strict=True):
        os.dup2(fd, stream)
    os.fchdir(fds[3])
    for fd in fds:
        os.close(fd)
    os.umask(umask)
    os.environ.clear()
    os.environb.update(environment)
    tempfile.tempdir = None
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    return arguments


class ClientLink(threading.Thread):
    """Passes on the client's Ctrl-C to dbt; ends the command when the client is ended or dies."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.signalled = self.over = False

    def run(self) -> None:
        while True:
            number = 0
            with contextlib.suppress(OSError):
                number = (self.connection.recv(1) or b"\0")[0]
            if self.over:
                return
            self.signalled = True
            if number != signal.SIGINT:
                break
            os.kill(os.getpid(), signal.SIGINT)
        cancelling = threading.Thread(target=cancel, daemon=True)
        cancelling.start()
        cancelling.join(CANCEL_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)


def cancel() -> None:
    """Cancel every query, as dbt does on Ctrl-C; its main thread may itself wait for one."""
    for adapter in list(FACTORY.adapters.values()):
        with contextlib.suppress(Exception), adapter.connection_named("cancel"):
            list(adapter.cancel_open_connections())


def run(arguments: list[str]) -> int:
    """dbt's console script; the exit code."""
    sys.argv = arguments
    if hasattr(command_line, "load_dotenv"):  # dbt 1.12 does that when it is imported
        from dotenv import find_dotenv

        command_line.load_dotenv(find_dotenv(usecwd=True), override=False)
    code: object = 1
    try:
        with warnings.catch_warnings():  # what was warned of in another command is no reason
            code = command_line.cli()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    return (code or 0) & 0xFF


def tell(server: socket.socket, kind: str, value: object = None) -> None:
    """Tell the server, which may be gone. Raises what pickle raises."""
    data = pickle.dumps((kind, value), pickle.HIGHEST_PROTOCOL)
    with contextlib.suppress(OSError):
        server.sendall(len(data).to_bytes(8, "big") + data)
