"""`server.py REAL_DBT SOCKET IDLE_SECONDS`, listening on descriptor 3: the warm server.

It has imported dbt, caches parsed manifests, and forks workers that run the commands. It never
reads a request: a worker does (`worker.serve`). So no environment, and no secret in it, is ever in
the server's memory. It never runs dbt: the manifests came from workers that had to parse.

A worker that has run a command waits a short while for the next one: to fork a process of this
size, and to touch its memory again, is most of what a command costs. While the workers are at
work, another one is forked.
"""

import contextlib
import gc
import itertools
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

gc.disable()  # the imports make nothing that could be freed, and are a tenth faster
import protocol  # noqa: E402
from clients import BEAT, Doorman, comfort, has_gone, let_in  # noqa: E402
from journal import Status, log  # noqa: E402

MANIFESTS = 4  # cached at once; the one that was longest unused makes room
LOADS = 50  # after so many manifests a fresh server takes over: memory stays bounded
WAITING = 3.0  # seconds that a worker waits for another command
FIRST_PARSE = 300.0  # seconds; clients wait no longer for the manifest that another one parses


def main(real: str, path: str, idle: float) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
    listener = socket.socket(fileno=3)
    own = os.stat(path)
    status = Status(protocol.beside(path, ".json"))
    status.write()
    with Doorman(listener) as doorman:
        identity = protocol.identity(real, os.environ)
        refusal = prepare(real)
    log(f"refuses all commands: {refusal}" if refusal else "is ready")
    server = Server(listener, identity, refusal, status)
    server.clients = doorman.clients
    while server.loads < LOADS and _is(path, own) and server.turn(idle):
        pass
    if _is(path, own):
        os.unlink(path)
    status.remove()
    listener.setblocking(False)  # who came before the socket was gone is still answered
    while server.accept():
        pass
    server.serve()
    log(f"ends after {server.commands} commands")


def prepare(real: str) -> str:
    """Import dbt. Returns why commands have to run cold; an empty text if they need not."""
    global manifest_cache, warmup, worker
    try:
        import supported

        if refusal := supported.mismatch():
            return refusal
        import manifest_cache
        import warmup
        import worker

        # What the cold dbt, a script in its venv's bin/, has there; dbt looks for plugins in it.
        sys.path[0] = os.path.dirname(os.path.abspath(real))
        warmup.prepare()
    except Exception as error:
        return f"dbt cannot be kept ready: {type(error).__name__}: {error}"
    gc.freeze()  # a worker's collector leaves the server's pages alone, and shared
    return ""


def _is(path: str, own: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), own)
    except OSError:
        return False


@dataclass(eq=False)
class Worker:
    """A worker, by its end of the line: it says what it parsed or used, and when it waits."""

    line: socket.socket
    loads: int  # how many manifests its server had taken when it was forked
    since: float = field(default_factory=time.monotonic)
    heard: bytearray = field(default_factory=bytearray)
    silent: bool = True  # it may still bring a manifest
    waits_since: float = 0.0

    def fileno(self) -> int:
        return self.line.fileno()

    def messages(self) -> Iterator[tuple[str, object]]:
        """What it has said since it was last heard. Raises EOFError when it has ended."""
        part = self.line.recv(1 << 20)
        if not part:
            raise EOFError
        self.heard += part
        while len(self.heard) >= (end := 8 + int.from_bytes(self.heard[:8], "big")) > 8:
            yield pickle.loads(self.heard[8:end])
            del self.heard[:end]


class Server:
    """The listening socket, the clients that wait, the manifests, and the workers."""

    def __init__(
        self, listener: socket.socket, identity: tuple, refusal: str, status: Status
    ) -> None:
        self.listener = listener
        self.identity = identity
        self.refusal = refusal
        self.status = status
        self.clients: list[socket.socket] = []
        self.cached: dict = {}  # an Entry: its graph; the longest unused first
        self.not_cached = ""  # why the last manifest that was parsed is not
        self.workers: set[Worker] = set()
        self.waiting: list[Worker] = []  # who began to wait last is asked first
        self.chores = iter(()) if refusal else warmup.rehearse()
        self.at_work = True
        self.loads = self.commands = 0
        self.used = self.comforted = time.monotonic()

    def turn(self, idle: float) -> bool:
        """Wait for one thing and do it; False when there is no more to wait for."""
        # Workers first: a client that comes after a command has ended finds what that one parsed.
        readable, _, _ = select.select([*self.workers, self.listener], [], [], self._patience(idle))
        if not readable:  # time for what makes later commands faster
            self._prepare_more()
        for source in readable:
            if source is self.listener:
                self.accept()
            else:
                self.hear(source)
        if not self._first_parse():
            self.serve()
        elif time.monotonic() - self.comforted > BEAT:
            self.comforted = time.monotonic()
            comfort(self.clients)
        for one in [one for one in self.waiting if time.monotonic() - one.waits_since > WAITING]:
            self.dismiss(one)
        return bool(self.clients or self._first_parse()) or time.monotonic() - self.used < idle

    def _patience(self, idle: float) -> float:
        """Seconds until there is something to do though nothing happens."""
        if self.at_work:
            return 0
        return min(1.0 if self.waiting or self.clients else 5.0, idle)

    def _prepare_more(self) -> None:
        if self.at_work:
            self.at_work = False
            with contextlib.suppress(Exception):  # what is left undone, the commands do
                self.at_work = next(self.chores, False)
            gc.freeze()
        if not self.at_work:
            self.status.write(
                commands=self.commands,
                refuses=self.refusal,
                manifests=[f"{e.project} ({len(e.manifest.nodes)} nodes)" for e in self.cached],
                not_cached=self.not_cached,
            )

    def _first_parse(self) -> bool:
        """Is the first manifest being parsed? Then clients wait for it instead of parsing, too."""
        if self.cached or self.not_cached:
            return False
        now = time.monotonic()
        return any(one.silent and now - one.since < FIRST_PARSE for one in self.workers)

    def accept(self) -> bool:
        """Let the next client in; False if there is none."""
        try:
            clients = let_in(self.listener)
        except OSError:
            return False
        self.used = time.monotonic()
        self.clients += clients
        comfort(clients)
        return True

    def serve(self) -> None:
        """Give each client a worker, as far as they need not wait for the first manifest."""
        while self.clients:
            with self.clients.pop(0) as client:
                if has_gone(client):
                    continue
                if self.refusal:
                    with contextlib.suppress(OSError):
                        client.sendall(protocol.COLD + self.refusal.encode()[:999])
                elif not self._hand_over(client):
                    self.fork(client)
                self.commands += 1
            if self._first_parse():
                return

    def _hand_over(self, client: socket.socket) -> bool:
        """Give the client to a worker that waits; False if there is none."""
        while self.waiting:
            one = self.waiting.pop()
            with contextlib.suppress(OSError):  # it was killed
                socket.send_fds(one.line, [b"+"], [client.fileno()])
                return True
            self.dismiss(one)
        return False

    def fork(self, client: socket.socket) -> None:
        line, workers_end = socket.socketpair()
        if os.fork():
            workers_end.close()
            self.workers.add(Worker(line, self.loads))
            return
        try:
            for other in (self.listener, line, *self.clients, *(w.line for w in self.workers)):
                other.close()
            worker.serve(client, self.identity, self.cached, workers_end)
        finally:
            os._exit(1)

    def hear(self, one: Worker) -> None:
        """Take what a worker has to say."""
        try:
            for kind, value in one.messages():
                one.silent = False
                getattr(self, f"_on_{kind}")(one, value)
        except Exception:  # it has ended, maybe in the middle of a message
            self.dismiss(one)
        if one in self.waiting and one.loads < self.loads:  # it knows none of the newest manifest
            self.dismiss(one)

    def _on_waits(self, one: Worker, _: object) -> None:
        one.waits_since = time.monotonic()
        self.waiting.append(one)

    def _on_used(self, _: Worker, key: tuple[str, str]) -> None:
        for entry in [entry for entry in self.cached if (entry.files, entry.context) == key]:
            self.cached[entry] = self.cached.pop(entry)

    def _on_not_cached(self, _: Worker, reason: str) -> None:
        if reason != self.not_cached:
            log(f"does not cache a manifest: {reason}")
        self.not_cached = reason

    def _on_parsed(self, one: Worker, entry: "manifest_cache.Entry") -> None:
        try:
            graph = manifest_cache.link_graph(entry.manifest)
        except Exception as error:  # a cycle, which every command finds
            self._on_not_cached(one, str(error))
            return
        self.cache(entry, graph)
        log(f"caches the manifest of {entry.project}: {len(entry.manifest.nodes)} nodes")

    def dismiss(self, one: Worker) -> None:
        """Hear no more of a worker, which ends if it waits."""
        one.line.close()
        self.workers.discard(one)
        self.waiting = [other for other in self.waiting if other is not one]

    def cache(self, entry: "manifest_cache.Entry", graph: object) -> None:
        """Keep both, in place of a manifest that it supersedes or that was longest unused."""
        gone = [old for old in self.cached if entry.supersedes(old)]
        if len(self.cached) - len(gone) == MANIFESTS:
            gone.append(next(iter(self.cached)))
        for old in gone:
            del self.cached[old]
        self.cached[entry] = graph
        self.not_cached = ""
        self.chores = itertools.chain(self.chores, warmup.rehearse_with(entry.manifest))
        self.at_work = True
        self.loads += 1
        for one in list(self.waiting):
            self.dismiss(one)
        if gone:
            gc.unfreeze()
            gc.collect()
        gc.freeze()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
