"""`server.py REAL_DBT SOCKET IDLE_SECONDS`, listening on descriptor 3: the warm server.

With 0 seconds it does not end because it is idle.

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
import math
import os
import pickle
import select
import signal
import socket
import sys
import time
from typing import Any

gc.disable()  # the imports make nothing that could be freed, and are a tenth faster
import protocol  # noqa: E402
from clients import BEAT, Doorman, comfort, has_gone, let_in  # noqa: E402
from journal import Status, log  # noqa: E402
from workers import Worker, Workers  # noqa: E402

sys.path.insert(1, protocol.INSIDE)

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
    global warmup, worker
    try:
        import supported

        if refusal := supported.mismatch():
            return refusal
        import warmup
        import worker

        # What the cold dbt, a script in its venv's bin/, has there; dbt looks for plugins in it.
        sys.path[:2] = [os.path.dirname(os.path.abspath(real))]
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
        self.cached: dict = {}  # an Entry: its manifest and graph; the longest unused first
        self.not_cached = ""  # why the last manifest that was parsed is not
        self.workers = Workers()
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
        self.workers.dismiss_waiting(since=time.monotonic() - WAITING)
        return bool(self.clients or self._first_parse()) or time.monotonic() - self.used < idle

    def _patience(self, idle: float) -> float:
        """Seconds until there is something to do though nothing happens."""
        if self.at_work:
            return 0
        return min(1.0 if self.workers.waiting or self.clients else 5.0, idle)

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
                manifests=[
                    f"{entry.project} ({len(manifest.nodes)} nodes)"
                    for entry, (manifest, _) in self.cached.items()
                ],
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
                elif not self.workers.hand_over(client):
                    self.fork(client)
                self.commands += 1
            if self._first_parse():
                return

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
            self.workers.dismiss(one)

    def _on_waits(self, one: Worker, _: object) -> None:
        if one.loads < self.loads:  # it knows none of the newest manifest
            self.workers.dismiss(one)
        else:
            self.workers.wait(one)

    def _on_used(self, _: Worker, key: tuple[str, str]) -> None:
        for entry in [entry for entry in self.cached if (entry.files, entry.context) == key]:
            self.cached[entry] = self.cached.pop(entry)

    def _on_not_cached(self, _: Worker, reason: str) -> None:
        if reason != self.not_cached:
            log(f"does not cache a manifest: {reason}")
        self.not_cached = reason

    def _on_parsed(self, _: Worker, parsed: tuple[Any, bytes]) -> None:
        entry, pickled = parsed
        manifest, graph = pickle.loads(pickled)
        self.cache(entry, manifest, graph)
        log(f"caches the manifest of {entry.project}: {len(manifest.nodes)} nodes")

    def cache(self, entry: Any, manifest: Any, graph: object) -> None:
        """Keep a manifest, in place of a manifest that it supersedes or that was longest unused."""
        gone = [old for old in self.cached if entry.supersedes(old)]
        if len(self.cached) - len(gone) == MANIFESTS:
            gone.append(next(iter(self.cached)))
        for old in gone:
            del self.cached[old]
        self.cached[entry] = manifest, graph
        self.not_cached = ""
        self.chores = itertools.chain(self.chores, warmup.rehearse_with(manifest))
        self.at_work = True
        self.loads += 1
        self.workers.dismiss_waiting(since=time.monotonic())
        if gone:
            gc.unfreeze()
            gc.collect()
        gc.freeze()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]) or math.inf)
