"""The TCP port of the UI."""

from __future__ import annotations

import socket

from scripts.local.paths import LocalError

LOOPBACK = "127.0.0.1"


def free_port(first: int) -> int:
    """`first`, or the next port that is free. 0 stands for any free port."""
    if first == 0:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            return probe.getsockname()[1]
    for port in range(first, first + 100):
        if not any(_answers(host, port) for host in (LOOPBACK, "::1")) and _bindable(port):
            return port
    raise LocalError(
        f"No free port from {first} to {first + 99}. Choose another: make up PORT=9000"
    )


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
