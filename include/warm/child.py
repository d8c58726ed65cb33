"""What runs inside dbt: the commands in a forked child, and what the parent prepares for them.

A child calls dbt's own entry point with the client's arguments, so everything from command line to
exit code is dbt's. One thing is changed (`install`): where neither the project's files nor anything
else that parsing depends on differ from what an earlier child parsed, the manifest comes from
memory. Otherwise dbt parses in full, as it does with an empty target folder, and the parent gets
the result. A command of a held manifest leaves run results and logs, but no second manifest.json.
"""

import atexit
import contextlib
import gc
import hashlib
import importlib
import marshal
import multiprocessing
import os
import pickle
import pkgutil
import re
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace

import dbt.mp_context
import dbt.task
import hooks
import networkx
import repeated
import reused
import wire
from dbt import compilation, plugins
from dbt.adapters.base.query_headers import MacroQueryStringSetter
from dbt.adapters.contracts.connection import QueryComment
from dbt.adapters.factory import FACTORY, load_plugin
from dbt.artifacts.resources.v1.components import Contract
from dbt.cli.main import cli
from dbt.config import RuntimeConfig
from dbt.constants import DEFAULT_ENV_PLACEHOLDER
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.project import (
    Configuration,
    PackageConfig,
    ProfileConfig,
    Project,
    ProjectFlags,
)
from dbt.contracts.selection import SelectorFile
from dbt.flags import get_flags
from dbt.jsonschemas.jsonschemas import project_schema
from dbt.parser import manifest as parser
from dbt.task import runnable
from dbt_common.clients.jinja import get_template, template_cache
from dbt_common.dataclass_schema import dbtClassMixin
from dotenv import find_dotenv, load_dotenv
from google.protobuf.timestamp_pb2 import Timestamp

CANCEL_SECONDS = 5.0  # what cancelling a query may take before the process ends all the same
CLOCK_NS = 50_000_000  # two changes of a file within one tick of the clock would look like one
COMMANDS = 100  # of one child, after which its memory is given back
WAITS = "waits"  # what a child says that is ready for another command
YOUNG_OBJECTS = 50_000  # that a command makes between two collections: most make no more at all
FLAGS = "WARN_ERROR WARN_ERROR_OPTIONS FULL_REFRESH STATIC_PARSER USE_EXPERIMENTAL_PARSER"
# What parsing may read that is another for each command. Where it decides on names, a manifest is
# good for one command only.
VOLATILE = re.compile(
    r"\b(run_started_at|invocation_id|invocation_args_dict|dbt_metadata_envs)\b"
    r"|\bmodules\.datetime\b|\bflags\."
)
# Classes of these modules get their readers and writers when they are first used.
MADE_LATE = (
    "dbt.adapters.", "dbt.artifacts.resources.v1.components", "dbt.artifacts.resources.v1.macro",
    "dbt.artifacts.schemas.results", "dbt.artifacts.schemas.run", "dbt.contracts.project",
    "dbt.contracts.selection", "dbt.task.", "dbt_common.helper_types",
)  # fmt: skip
IMPORTED_LATE = (
    "dbt_common.clients.agate_helper", "encodings.utf_8_sig", "google.protobuf.descriptor_pb2",
    "multiprocessing.dummy",
)  # fmt: skip
PROJECT = ("dbt_project.yml", ".dbtignore")
PACKAGES = ("packages.yml", "dependencies.yml", "package-lock.yml")
NAMING = ("generate_alias_name", "generate_database_name", "generate_schema_name")


@dataclass(frozen=True, eq=False)
class Entry:
    """A parsed manifest and what it was made from: the state `files` of what is at `paths`, the
    environment variables that it and its projects `asked` for, and everything else, its `place`.
    """

    place: str
    files: str
    paths: frozenset[str]
    asked: Mapping[str, str]
    manifest: Manifest

    def fits(self, place: str) -> bool:
        return (
            place == self.place
            and all(os.environ.get(k, DEFAULT_ENV_PLACEHOLDER) == v for k, v in self.asked.items())
            and files_of(self.paths)[0] == self.files
        )

    def replaces(self, other: "Entry") -> bool:
        return (self.place, self.asked) == (other.place, other.asked)


def place_of(config: RuntimeConfig) -> str:
    """A digest of what parsing depends on besides files and environment variables.

    That is what dbt compares before it parses partially (ManifestLoader.build_manifest_state_check)
    and what it leaves out there: packages' variables, some flags, threads, which Jinja can see.
    """
    flags = get_flags()
    return _digest(
        config.project_root, config.profile_name, config.target_name, config.to_target_dict(),
        config.cli_vars, config.vars_from_file,
        [str(getattr(flags, name, None)) for name in FLAGS.split()],
    )  # fmt: skip


def files_of(paths: Iterable[str]) -> tuple[str, int]:
    """A digest of the state of every file there, and when the last of them changed.

    The time of a change (ctime) is the system's own: no program can set it back.
    """
    states = sorted(state for path in paths for state in _walk(path))
    return _digest(states), max((state[-1] for state in states), default=0)


def paths_of(config: RuntimeConfig, projects: Mapping[str, RuntimeConfig]) -> frozenset[str]:
    """The files that decide on the projects, and the folders of what dbt reads in them.

    Those of dbt's own packages are a part of dbt, as its code is (see wire.identity). A path that
    ends with a slash stands for the names in a folder.
    """
    found = {os.path.join(config.project_root, name) for name in PACKAGES}
    found.add(os.path.join(config.project_root, config.packages_install_path, ""))
    for project in projects.values():
        if not os.path.realpath(project.project_root).startswith(sys.prefix + os.sep):
            found |= {os.path.join(project.project_root, n) for n in PROJECT}
            for field in fields(project):
                if field.name.endswith("_paths"):
                    paths = getattr(project, field.name)
                    found |= {os.path.join(project.project_root, path) for path in paths}
    return frozenset(found)


def _walk(path: str) -> Iterator[tuple]:
    """(path, inode, size, ctime) of a file, or of a folder and all that is below it."""
    todo = [path]
    while todo:
        path = todo.pop()
        with contextlib.suppress(OSError):
            found = os.stat(path)
            yield path, found.st_ino, found.st_size, found.st_ctime_ns
            if stat.S_ISDIR(found.st_mode) and not path.endswith(os.sep):
                todo += [entry.path for entry in os.scandir(path)]


def lasts(manifest: Manifest, project: str) -> bool:
    """Whether the manifest would be the same for the next command: nothing that differs from one
    command to the next went into a configuration or a name, and no plugin adds nodes of its own.
    """
    members = [*manifest.nodes.values(), *manifest.sources.values()]
    texts = {str(getattr(member, "unrendered_config", "")) for member in members}
    naming = {key for key, macro in manifest.macros.items() if macro.name.endswith(NAMING)}
    called = list(naming)
    while called:
        macro = manifest.macros.get(called.pop())
        if macro:
            texts.add(macro.macro_sql)
            called += set(macro.depends_on.macros) - naming
            naming |= set(macro.depends_on.macros)
    hooks = plugins.get_plugin_manager(project).hooks
    return not hooks.get("get_nodes") and not any(map(VOLATILE.search, texts))


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


# In the parent


def prepare() -> None:
    """Import what the commands import late, and have done what is the same for all of them."""
    for module in pkgutil.iter_modules(dbt.task.__path__, "dbt.task."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    # dbt takes only locks from it. Those of "spawn" need a tracker process for each command and
    # leave a semaphore in /dev/shm when they are killed; those of "fork" have no name.
    dbt.mp_context.get_mp_context().get_context = lambda: multiprocessing.get_context("fork")
    repeated.install_in_parent()


def rehearse() -> Iterator[bool]:
    """Fill what dbt remembers within a process, a little at each step. Nothing of it has to be done
    before a command runs: what is missing, each command does for itself.
    """
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    Timestamp().FromJsonString("2000-01-01T00:00:00Z")  # compiles the expression for each event's
    yield True
    schemas = {Configuration, Contract, PackageConfig, ProfileConfig, Project, ProjectFlags}
    yield from _check_with({*schemas, SelectorFile})
    yield from _read_and_write()
    project_schema()
    yield True
    with contextlib.suppress(Exception):  # it compiles, and then finds no target
        MacroQueryStringSetter(SimpleNamespace(query_comment=QueryComment()), {})


def rehearse_with(manifest: Manifest) -> Iterator[bool]:
    """The same for what the commands of a manifest need."""
    members = {type(m): m for m in (*manifest.nodes.values(), *manifest.macros.values())}.values()
    configs = {type(member.config) for member in members}
    yield from _check_with({load_plugin(manifest.metadata.adapter_type), *configs})
    yield from _read_and_write()
    for member in members:
        member.to_dict(omit_none=True)
        yield True
    # Where one is used, dbt says what is wrong with it.
    for macro in manifest.macros.values():
        with contextlib.suppress(Exception):
            template_cache.get_node_template(macro)
        yield True
    for node in manifest.nodes.values():
        with contextlib.suppress(Exception):
            get_template(node.raw_code, {})
        yield True


def _check_with(schemas: Iterable[type]) -> Iterator[bool]:
    for checked in schemas:
        checked.json_schema()
        yield True


def _read_and_write() -> Iterator[bool]:
    """Have readers and writers made. These fail on what has no fields; they are made by then."""
    for made in _below(dbtClassMixin):
        if made.__module__.startswith(MADE_LATE):
            with contextlib.suppress(Exception):
                made.from_dict({})
            with contextlib.suppress(Exception):
                made.__new__(made).to_dict(omit_none=True)
            yield True


def _below(base: type) -> Iterator[type]:
    for made in base.__subclasses__():
        yield made
        yield from _below(made)


def graph_of(manifest: Manifest) -> networkx.DiGraph:
    """The graph that commands select from. Raises dbt's error if it has a cycle."""
    linker = compilation.Linker()
    linker.link_graph(manifest)
    return linker.graph


# In a child


def serve(connection: socket.socket, who: tuple, held: Mapping, parent: socket.socket) -> None:
    """Run the command that a client asks for, and those of further clients as long as the parent
    has any, one after the other; end this process.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    os.setsid()  # a signal to the client's group is the client's to pass on
    install(held, parent)
    left = COMMANDS
    while connection:
        left -= 1
        connection = parent_has(parent) if answer(connection, who, left, parent) else None
    os._exit(0)


def parent_has(parent: socket.socket) -> socket.socket | None:
    """The connection to the next client; None if the parent has none."""
    _, fds, _, _ = socket.recv_fds(parent, 1, 1)
    return socket.socket(fileno=fds[0]) if fds else None


def answer(connection: socket.socket, who: tuple, left: int, parent: socket.socket) -> bool:
    """Run a client's command; whether this process is as it was, and may run another one."""
    if wire.peer_uid(connection) != os.getuid():
        os._exit(1)
    try:
        arguments = take_over(connection, who)
    except wire.Unservable as why:
        connection.sendall(wire.COLD + str(why).encode())
        os._exit(0)
    connection.sendall(wire.READY)
    if wire.receive(connection, 1) != wire.GO:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = Client(connection)
    client.start()
    reused.begin()
    code = run(arguments)
    again = left > 0 and code < 2 and not client.signalled and reused.may_be()
    code = end(code, again)
    client.over = True
    if again:
        reused.forget()
        say(parent, WAITS)
    with contextlib.suppress(OSError):
        connection.sendall(wire.EXIT + bytes([code]))
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
        wire.receive(connection, int.from_bytes(size, "big"))
    )
    connection.settimeout(None)
    if theirs != who:
        raise wire.Unservable("its parent belongs to another environment")
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


class Client(threading.Thread):
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


def install(held: Mapping[Entry, networkx.DiGraph], parent: socket.socket) -> None:
    """Let dbt take its manifest from memory, and give the parent what it had to parse."""
    full = parser.ManifestLoader.get_full_manifest

    def get_full_manifest(config: RuntimeConfig, **options) -> Manifest:
        flags = get_flags()
        if not flags.PARTIAL_PARSE or flags.PARTIAL_PARSE_FILE_PATH:
            return full(config, **options)
        place = place_of(config)
        for entry, graph in held.items():
            if entry.fits(place):
                say(parent, (entry.files, place))
                return reused.adopt(entry.manifest, graph, config)
        began = time.time_ns()
        projects = config.load_dependencies()
        paths = paths_of(config, projects)
        files, changed = files_of(paths)
        gc.disable()  # a fifth of the time; what parsing makes is kept anyway
        manifest = full(config, **options)
        gc.freeze()
        gc.enable()
        lasting = changed < began - CLOCK_NS and lasts(manifest, config.project_name)
        asked = {k: v for project in projects.values() for k, v in project.project_env_vars.items()}
        made = Entry(place, files, paths, asked | manifest.env_vars, manifest)
        say(parent, made if lasting else None)
        return manifest

    parser.ManifestLoader.get_full_manifest = staticmethod(get_full_manifest)
    parser.write_manifest = runnable.write_manifest = lambda *_, **__: None
    reused.install()
    repeated.install_in_child()
    hooks.install()


def say(parent: socket.socket, message: object) -> None:
    """Tell the parent, which may be gone."""
    told = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    with contextlib.suppress(OSError):
        parent.sendall(len(told).to_bytes(8, "big") + told)
