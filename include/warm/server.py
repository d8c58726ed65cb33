"""`server.py REAL_DBT SOCKET IDLE_SECONDS`, listening on descriptor 3: the warm parent.

It has imported dbt and holds parsed manifests, and forks a child for each command. It never reads
a request: the child does (`child.serve`), so that no environment, and no secret in it, is ever in
the parent's memory. It never runs dbt: what it holds came from children that had to parse.
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

gc.disable()  # the imports make nothing that could be freed, and are a tenth faster
import child  # noqa: E402
import wire  # noqa: E402

MANIFESTS = 4  # held at once; the one that was longest unused makes room
LOADS = 50  # after so many manifests a fresh parent takes over: memory stays bounded


def main(real: str, path: str, idle: float) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the children
    who = wire.identity(real, os.environ)
    listener = socket.socket(fileno=3)
    ours = os.stat(path)
    # What the cold dbt, a script in its venv's bin/, would have there; dbt looks for plugins in it.
    sys.path[0] = os.path.dirname(os.path.abspath(real))
    child.prepare()
    gc.freeze()  # a child's collector leaves the parent's pages alone, and shared
    parent = Parent(listener, who)
    while parent.loads < LOADS and _is(path, ours) and parent.turn(idle):
        pass
    if _is(path, ours):
        os.unlink(path)
    listener.setblocking(False)  # who came before the socket was gone is still answered
    while parent.accept():
        pass


def _is(path: str, ours: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), ours)
    except OSError:
        return False


class Parent:
    """The listening socket, the manifests, and the pipes of the children that may bring one."""

    def __init__(self, listener: socket.socket, who: tuple) -> None:
        self.listener = listener
        self.who = who
        self.held: dict = {}  # an Entry and its graph, the longest unused first
        self.pipes: dict[int, bytearray] = {}
        self.chores = child.rehearse()
        self.at_work = True
        self.loads = 0
        self.used = time.monotonic()

    def turn(self, idle: float) -> bool:
        """Wait for one thing and do it; False when there is no more to wait for."""
        # The first command parses alone: who comes meanwhile finds its manifest ready.
        hearing = [self.listener] if self.held or not self.pipes else []
        # Pipes first: a client that comes after a command has ended finds what that one parsed.
        wait = 0 if self.at_work else min(5.0, idle)
        readable, _, _ = select.select([*self.pipes, *hearing], [], [], wait)
        if not readable:  # time for what makes later commands faster
            with contextlib.suppress(Exception):  # what is left undone, the commands do
                self.at_work = next(self.chores, False)
            gc.freeze()
        for source in readable:
            if source is self.listener:
                self.accept()
            else:
                self.read(source)
        return bool(self.pipes) or time.monotonic() - self.used < idle

    def accept(self) -> bool:
        """Fork a child for the next client; False if there is none."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return False
        self.used = time.monotonic()
        mine, childs = os.pipe()
        if os.fork():
            connection.close()
            os.close(childs)
            self.pipes[mine] = bytearray()
            return True
        try:
            self.listener.close()
            for pipe in (mine, *self.pipes):
                os.close(pipe)
            child.serve(connection, self.who, self.held, childs)
        finally:
            os._exit(1)

    def read(self, pipe: int) -> None:
        """Take what a child has to say."""
        part = os.read(pipe, 1 << 20)
        if part:
            self.pipes[pipe] += part
            return
        os.close(pipe)
        message = self.pipes.pop(pipe)
        try:
            told = pickle.loads(message)
        except Exception:  # cut short by the end of its child
            return
        if isinstance(told, child.Entry):
            with contextlib.suppress(Exception):  # a cycle in its graph, which every command finds
                self.hold(told, child.graph_of(told.manifest))
        for entry in [entry for entry in self.held if (entry.files, entry.place) == told]:
            self.held[entry] = self.held.pop(entry)

    def hold(self, entry: "child.Entry", graph: object) -> None:
        """Keep both, in the place of a manifest that it replaces or that was longest unused."""
        gone = [old for old in self.held if entry.replaces(old)]
        if len(self.held) - len(gone) == MANIFESTS:
            gone.append(next(iter(self.held)))
        for old in gone:
            del self.held[old]
        self.held[entry] = graph
        self.chores = itertools.chain(self.chores, child.rehearse_with(entry.manifest))
        self.at_work = True
        self.loads += 1
        if gone:
            gc.unfreeze()
            gc.collect()
        gc.freeze()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
