"""What client, server and worker share: their identity, where the socket is, what they say on it.

server: WAIT, again and again           (it lives, and has no worker for the client yet)
worker: HELLO                           (from here on the client does not wait for the server)
client: SCM_RIGHTS(stdin, stdout, stderr, working directory) + length + request
worker: READY, or COLD + reason         (nothing has been run yet; the client may still leave)
client: GO                              (from here on the command counts as begun)
client: a byte for each signal it gets; its end of file means that it died
worker: EXIT + exit code
"""

import os
import sys
import zlib

try:  # the C module alone saves 20 ms of imports per command
    import _socket as socket
except ImportError:
    import socket

WAIT, HELLO, READY, COLD, GO, EXIT = b"W", b"H", b"R", b"C", b"G", b"X"
HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = os.path.join(os.path.dirname(HERE), "inside")  # what runs inside dbt
LONGEST_PATH = 100  # of a socket: sun_path holds 108 bytes on Linux, 104 elsewhere
# Commands whose purpose is a file in the target folder, and options that a server cannot honour,
# run cold.
WARM_COMMANDS = frozenset(
    ("build", "list", "ls", "run", "run-operation", "seed", "show", "snapshot", "source", "test")
)
COLD_WORDS = frozenset(
    ("--help", "-h", "--version", "-v", "-V", "--macro-debugging", "--record-timing-info", "-r")
)
INHERITED = ("PYTHON", "LC_", "LANG", "LD_", "OPENSSL_", "MALLOC_", "DYLD_", "TZ")


class RunCold(Exception):
    """Why a command has to run cold, in words for its log."""


def may_be_warm(arguments: list[str]) -> bool:
    """May a server run that command?"""
    return bool(WARM_COMMANDS.intersection(arguments)) and not COLD_WORDS.intersection(arguments)


def identity(real_dbt: str, environment) -> tuple:
    """What a running server cannot take over from a client, so that each value has its own server:
    user and groups, the namespaces of its container, dbt, its Python and what is installed beside
    them, this code, and (last) the variables that Python and its libraries read when they start.
    """
    files = [os.path.join(folder, name) for folder in (HERE, INSIDE) for name in os.listdir(folder)]
    code = sorted(path for path in files if path.endswith(".py"))
    python = python_of(real_dbt)
    venv = os.path.dirname(os.path.dirname(python))
    libraries = os.path.join(venv, "lib")
    installed = [os.path.join(libraries, name, "site-packages") for name in _list(libraries)]
    return (
        os.getuid(), os.getgid(), tuple(os.getgroups()), os.uname().nodename,
        tuple(_link(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net")),
        venv, HERE, tuple(_file_state(path) for path in (*code, real_dbt, python, *installed)),
        tuple(sorted((k, v) for k, v in environment.items() if k.startswith(INHERITED))),
    )  # fmt: skip


def python_of(real_dbt: str) -> str:
    """The Python that dbt is installed for: the one beside it."""
    return os.path.join(os.path.dirname(os.path.realpath(real_dbt)), "python")


def _list(folder: str) -> list:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith("python"))
    except OSError:
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _file_state(path: str) -> tuple:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def socket_path(identity: tuple, environment) -> str:
    """Where the server of this identity listens. The name is short; the worker compares it all."""
    folder = environment.get("DBT_WARM_DIR") or f"/tmp/dbt-warm-{os.getuid()}"
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    status = os.lstat(folder)
    if (status.st_mode & 0o170077) != 0o040000 or status.st_uid != os.getuid():
        raise RunCold(f"{folder} is not a folder that only you can enter; remove it")
    path = os.path.join(folder, f"{zlib.crc32(repr(identity).encode()):08x}.sock")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise RunCold(f"the path {path} is too long for a socket (DBT_WARM_DIR sets its folder)")
    return path


def beside(path: str, suffix: str) -> str:
    """The file of the server at `path` that ends with `suffix`: `.log` or `.json`."""
    return path.removesuffix(".sock") + suffix


def peer_uid(connection) -> int:
    """The user at the other end; this process's own where the system cannot tell (not Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def receive(connection, size: int) -> bytes:
    """Exactly `size` bytes; raises EOFError if the other side ends before."""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the other side ended")
        data += part
    return bytes(data)
