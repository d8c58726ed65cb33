"""The clock of one worker, by libfaketime (apt-get install libfaketime)."""

from __future__ import annotations

from pathlib import Path


def ahead(seconds: int) -> dict[str, str]:
    """Variables with which the clock of a process, and of all that it starts, is ahead.

    Clocks that measure durations go on as they are. Raises AssertionError without the library.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "There is no libfaketime here. Install it with: apt-get install libfaketime"
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"+{seconds}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
