"""The clients that a server has let in, and that wait for a worker."""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterable

import protocol

BEAT = 2.0  # seconds between two signs of life to a client that waits


def let_in(listener: socket.socket) -> list[socket.socket]:
    """The next client, if it belongs to this user. Raises OSError if there is none."""
    client, _ = listener.accept()
    if protocol.peer_uid(client) == os.getuid():
        return [client]
    client.close()
    return []


def comfort(clients: Iterable[socket.socket]) -> None:
    """Tell clients that they are waited on: without such a sign they run cold."""
    for client in clients:
        with contextlib.suppress(OSError):  # it has gone
            client.send(protocol.WAIT, socket.MSG_DONTWAIT)


def has_gone(client: socket.socket) -> bool:
    """Has a client left, which says nothing before it has a worker?"""
    client.setblocking(False)
    try:
        gone = not client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        gone = False
    except OSError:
        gone = True
    client.setblocking(True)
    return gone


class Doorman(threading.Thread):
    """Lets clients in, and has them wait, while the server imports dbt."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(daemon=True)
        self.listener = listener
        self.clients: list[socket.socket] = []
        self.bell, self.other_end = socket.socketpair()

    def __enter__(self) -> "Doorman":
        self.start()
        return self

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self.listener, self.bell], [], [], BEAT)
            if self.bell in readable:
                return
            if readable:
                self.clients += let_in(self.listener)
            comfort(self.clients)

    def __exit__(self, *_: object) -> None:
        self.other_end.send(b"!")
        self.join()
        self.bell.close()
        self.other_end.close()
