"""`server.py REAL_DBT SOCKET IDLE_SECONDS`, listening on descriptor 3: the warm parent.

It has imported dbt, caches parsed manifests, and forks workers that run the commands. It never
reads a request: a worker does (`worker.serve`). So no environment, and no secret in it, is ever in
the server's memory. It never runs dbt: the manifests came from workers that had to parse.

A worker that has run a command as usual waits a short while for the next one: to fork a process of
this size, and to touch its memory again, is most of what a command costs. While the workers are at
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
import manifest_cache  # noqa: E402
import protocol  # noqa: E402
import warmup  # noqa: E402
import worker  # noqa: E402

MANIFESTS = 4  # cached at once; the one that was longest unused makes room
LOADS = 50  # after so many manifests a fresh server takes over: memory stays bounded
WAITING = 3.0  # seconds that a worker waits for another command, with what it knows of the last one


def main(real: str, path: str, idle: float) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
    who = protocol.identity(real, os.environ)
    listener = socket.socket(fileno=3)
    ours = os.stat(path)
    # What the cold dbt, a script in its venv's bin/, would have there; dbt looks for plugins in it.
    sys.path[0] = os.path.dirname(os.path.abspath(real))
    warmup.prepare()
    gc.freeze()  # a worker's collector leaves the server's pages alone, and shared
    server = Server(listener, who)
    while server.loads < LOADS and _is(path, ours) and server.turn(idle):
        pass
    if _is(path, ours):
        os.unlink(path)
    listener.setblocking(False)  # who came before the socket was gone is still answered
    while server.accept():
        pass


def _is(path: str, ours: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), ours)
    except OSError:
        return False


@dataclass(eq=False)
class Worker:
    """A worker, by its end of the line: it says what it parsed or found, and when it waits."""

    line: socket.socket
    loads: int  # how many manifests its server had taken when it was forked
    heard: bytearray = field(default_factory=bytearray)
    silent: bool = True  # it may still bring a manifest
    waits_since: float = 0.0

    def fileno(self) -> int:
        return self.line.fileno()

    def messages(self) -> Iterator[object]:
        """What it has said since it was last asked. Raises EOFError when it has ended."""
        part = self.line.recv(1 << 20)
        if not part:
            raise EOFError
        self.heard += part
        while len(self.heard) >= (end := 8 + int.from_bytes(self.heard[:8], "big")) > 8:
            yield pickle.loads(self.heard[8:end])
            del self.heard[:end]


class Server:
    """The listening socket, the manifests, and the workers."""

    def __init__(self, listener: socket.socket, who: tuple) -> None:
        self.listener = listener
        self.who = who
        self.cached: dict = {}  # an Entry and its graph, the longest unused first
        self.workers: set[Worker] = set()
        self.waiting: list[Worker] = []  # who began to wait last is asked first
        self.chores = warmup.rehearse()
        self.at_work = True
        self.loads = 0
        self.used = time.monotonic()

    def turn(self, idle: float) -> bool:
        """Wait for one thing and do it; False when there is no more to wait for."""
        # The first command parses alone: who comes meanwhile finds its manifest ready.
        parses = any(one.silent for one in self.workers)
        hearing = [self.listener] if self.cached or not parses else []
        # Children first: a client that comes after a command has ended finds what that one parsed.
        wait = 0 if self.at_work else min(1.0 if self.waiting else 5.0, idle)
        readable, _, _ = select.select([*self.workers, *hearing], [], [], wait)
        if not readable:  # time for what makes later commands faster
            with contextlib.suppress(Exception):  # what is left undone, the commands do
                self.at_work = next(self.chores, False)
            gc.freeze()
        for source in readable:
            if source is self.listener:
                self.accept()
            else:
                self.hear(source)
        for one in [one for one in self.waiting if time.monotonic() - one.waits_since > WAITING]:
            self.dismiss(one)
        return parses or time.monotonic() - self.used < idle

    def accept(self) -> bool:
        """Have a worker serve the next client; False if there is none."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return False
        self.used = time.monotonic()
        with connection:
            while self.waiting:
                one = self.waiting.pop()
                with contextlib.suppress(OSError):  # it was killed
                    socket.send_fds(one.line, [b"+"], [connection.fileno()])
                    return True
                self.dismiss(one)
            self.fork(connection)
        return True

    def fork(self, connection: socket.socket) -> None:
        mine, workers_end = socket.socketpair()
        if os.fork():
            workers_end.close()
            self.workers.add(Worker(mine, self.loads))
            return
        try:
            for line in (self.listener, mine, *(one.line for one in self.workers)):
                line.close()
            worker.serve(connection, self.who, self.cached, workers_end)
        finally:
            os._exit(1)

    def hear(self, one: Worker) -> None:
        """Take what a worker has to say."""
        try:
            for told in one.messages():
                one.silent = False
                if told == worker.WAITS:
                    one.waits_since = time.monotonic()
                    self.waiting.append(one)
                elif isinstance(told, manifest_cache.Entry):
                    with contextlib.suppress(Exception):  # a cycle, which every command finds
                        self.cache(told, manifest_cache.link_graph(told.manifest))
                for entry in [
                    entry for entry in self.cached if (entry.files, entry.context) == told
                ]:
                    self.cached[entry] = self.cached.pop(entry)
        except Exception:  # it has ended, maybe in the middle of a message
            self.dismiss(one)
        if one in self.waiting and one.loads < self.loads:  # it knows none of the newest manifest
            self.dismiss(one)

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
