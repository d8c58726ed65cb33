"""A server's workers, each by the server's end of the line to it."""

import contextlib
import pickle
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


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


class Workers(set[Worker]):
    """All workers, and those that wait for a command."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Worker] = []  # who began to wait last is asked first

    def wait(self, one: Worker) -> None:
        one.waits_since = time.monotonic()
        self.waiting.append(one)

    def hand_over(self, client: socket.socket) -> bool:
        """Give the client to a worker that waits; False if there is none."""
        while self.waiting:
            one = self.waiting.pop()
            with contextlib.suppress(OSError):  # it was killed
                socket.send_fds(one.line, [b"+"], [client.fileno()])
                return True
            self.dismiss(one)
        return False

    def dismiss(self, one: Worker) -> None:
        """Hear no more of a worker, which ends if it waits."""
        one.line.close()
        self.discard(one)
        self.waiting = [other for other in self.waiting if other is not one]

    def dismiss_waiting(self, since: float) -> None:
        """Dismiss those that have waited since then, or for longer."""
        for one in [one for one in self.waiting if one.waits_since <= since]:
            self.dismiss(one)
