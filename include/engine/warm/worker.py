"""What runs inside dbt: the commands of a forked worker.

A worker calls dbt's own entry point with the client's arguments, so everything from command line to
exit code is dbt's. One thing is changed (`install`): where neither the project's files nor anything
else that parsing depends on differ from what an earlier worker parsed, the manifest comes from
memory. Otherwise dbt parses in full, as it does with an empty target folder, and the server gets
the result. A command of a cached manifest leaves run results and logs, but no second manifest.json.
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
from collections.abc import Mapping

import manifest_cache
import networkx
import patches
import project_hooks
import protocol
import reset
from dbt.adapters.factory import FACTORY
from dbt.cli.main import cli
from dbt.config import RuntimeConfig
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.parser import manifest as parser
from dbt.task import runnable
from dotenv import find_dotenv, load_dotenv

CANCEL_SECONDS = 5.0  # what cancelling a query may take before the process ends all the same
COMMANDS = 100  # of one worker, after which its memory is given back
WAITS = "waits"  # what a worker says that is ready for another command
YOUNG_OBJECTS = 50_000  # that a command makes between two collections: most make no more at all


def serve(connection: socket.socket, who: tuple, manifests: Mapping, server: socket.socket) -> None:
    """Run the command that a client asks for, and those of further clients as long as the server
    has any, one after the other; end this process.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    os.setsid()  # a signal to the client's group is the client's to pass on
    install(manifests, server)
    left = COMMANDS
    while connection:
        left -= 1
        connection = next_client(server) if answer(connection, who, left, server) else None
    os._exit(0)


def next_client(server: socket.socket) -> socket.socket | None:
    """The connection to the next client; None if the server has none."""
    _, fds, _, _ = socket.recv_fds(server, 1, 1)
    return socket.socket(fileno=fds[0]) if fds else None


def answer(connection: socket.socket, who: tuple, left: int, server: socket.socket) -> bool:
    """Run a client's command; whether this process is as it was, and may run another one."""
    if protocol.peer_uid(connection) != os.getuid():
        os._exit(1)
    try:
        arguments = take_over(connection, who)
    except protocol.RunCold as why:
        connection.sendall(protocol.COLD + str(why).encode())
        os._exit(0)
    connection.sendall(protocol.READY)
    if protocol.receive(connection, 1) != protocol.GO:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = ClientLink(connection)
    client.start()
    reset.before_command()
    code = run(arguments)
    again = left > 0 and code < 2 and not client.signalled and reset.is_reusable()
    code = end(code, again)
    client.over = True
    if again:
        reset.after_command()
        say(server, WAITS)
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


def take_over(connection: socket.socket, who: tuple) -> list[str]:
    """The client's arguments; its streams, folder, umask and environment become this process's."""
    connection.settimeout(30)
    size, fds, _, _ = socket.recv_fds(connection, 8, 4)
    theirs, arguments, environment, umask = marshal.loads(
        protocol.receive(connection, int.from_bytes(size, "big"))
    )
    connection.settimeout(None)
    if theirs != who:
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
    load_dotenv(find_dotenv(usecwd=True), override=False)  # as dbt.cli.main when it is imported
    code: object = 1
    try:
        with warnings.catch_warnings():  # what was warned of in another command is no reason
            code = cli()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    return (code or 0) & 0xFF


def install(
    manifests: Mapping[manifest_cache.Entry, networkx.DiGraph], server: socket.socket
) -> None:
    """Let dbt take its manifest from memory, and give the server what it had to parse."""
    full = parser.ManifestLoader.get_full_manifest

    def get_full_manifest(config: RuntimeConfig, **options) -> Manifest:
        flags = get_flags()
        if not flags.PARTIAL_PARSE or flags.PARTIAL_PARSE_FILE_PATH:
            return full(config, **options)
        context = manifest_cache.context_digest(config)
        for entry, graph in manifests.items():
            if entry.is_current(context):
                say(server, (entry.files, context))
                return reset.adopt(entry.manifest, graph, config)
        before = manifest_cache.Before(config, context)
        gc.disable()  # a fifth of the time; what parsing makes is kept anyway
        manifest = full(config, **options)
        gc.freeze()
        gc.enable()
        say(server, before.entry(manifest))
        return manifest

    parser.ManifestLoader.get_full_manifest = staticmethod(get_full_manifest)
    parser.write_manifest = runnable.write_manifest = lambda *_, **__: None
    reset.install()
    patches.install_in_child()
    project_hooks.install()


def say(server: socket.socket, message: object) -> None:
    """Tell the server, which may be gone."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    with contextlib.suppress(OSError):
        server.sendall(len(data).to_bytes(8, "big") + data)
