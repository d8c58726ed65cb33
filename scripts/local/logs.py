"""What Airflow's logs say, for a person: pure functions of their text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

# Airflow read the file, but its database refused what is in it. Only this log says so.
_NOT_SAVED = re.compile(r"^(\S+) .*Failed to persist parsing result for (\S+) in", re.MULTILINE)
_NEXT_ENTRY = re.compile(r"^\d{4}-\d\d-\d\dT", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"[\w.]*(Error|Exception|Truncation|Violation)\w*: ")
LINES_SHOWN = 12


class UnsavedFile(NamedTuple):
    """A DAG file that Airflow could not save: when, which, and why."""

    time: str
    file: str
    reason: str


def unsaved_files(log: str) -> list[UnsavedFile]:
    """Each time that Airflow could not save a DAG file, by the log of its DAG processor."""
    text = _COLOURS.sub("", log)
    found = []
    for failure in _NOT_SAVED.finditer(text):
        traceback = _NEXT_ENTRY.split(text[failure.end() :], maxsplit=1)[0].splitlines()
        errors = [line for line in traceback if _ERROR.match(line)]
        found.append(UnsavedFile(*failure.groups(), errors[-1] if errors else "its log says why"))
    return found


def readable_end(lines: Iterable[str], count: int = LINES_SHOWN) -> list[str]:
    """The last lines of a task's log, of which Airflow makes JSON, as a person reads them."""
    shown: list[str] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = line.rstrip("\n")
        shown += _entry_lines(entry) if isinstance(entry, dict) else [str(entry)]
    return [line for line in shown if line.strip()][-count:]


def _entry_lines(entry: dict) -> list[str]:
    """The event, and the exceptions that came with it, without the way through Airflow's code."""
    errors = entry.get("error_detail") or []
    return [
        *str(entry.get("event", "")).splitlines(),
        *(
            line
            for error in errors
            for line in f"{error.get('exc_type')}: {error.get('exc_value')}".splitlines()
        ),
    ]
