"""What a server says of itself: a log and a status, in files beside its socket.

`make warm` shows the status (status.py).
"""

import contextlib
import json
import os
import sys
import time


def log(text: str) -> None:
    """A line in the file beside the socket."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        print(f"{moment} server {os.getpid()} {text}", file=sys.stderr, flush=True)


class Status:
    """The file with what a server does now."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = ""
        code = os.path.dirname(os.path.abspath(__file__))
        self.facts = {"pid": os.getpid(), "since": time.time(), "venv": sys.prefix, "code": code}

    def write(self, **facts: object) -> None:
        """Write the file if something has changed."""
        text = json.dumps(self.facts | facts)
        if text != self.text:
            self.text = text
            with contextlib.suppress(OSError):
                with open(f"{self.path}.new", "w") as file:
                    file.write(text)
                os.replace(f"{self.path}.new", self.path)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)
