"""docs/failures-and-alerts.md has the messages that tasks end with, as the code writes them."""

from __future__ import annotations

import re

import pytest

from include.engine import settings

PAGE = (settings.ROOT / "docs" / "failures-and-alerts.md").read_text()
TABLE = PAGE.split("| you see | it means | do this |\n|---|---|---|\n")[1].split("\n\n")[0]
ROWS = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in TABLE.splitlines()]


def texts(folder: str) -> str:
    """The code in the folder; a text that is written over several lines is one to Python."""
    files = sorted((settings.ROOT / folder).rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files))


CODE = texts("include/engine")
RUNS = texts("dev/tests/scheduled")
VERBS = re.findall(r"^([a-z-]+):", (settings.ROOT / "Makefile").read_text(), re.M)


def test_each_row_says_what_it_means_and_what_to_do():
    assert len(ROWS) > 10
    assert [row for row in ROWS if len(row) != 3 or not all(row)] == []


@pytest.mark.parametrize("message", [row[0] for row in ROWS])
def test_each_message_is_written_by_the_code(message):
    assert [part for part in parts(message) if part not in CODE] == []


@pytest.mark.parametrize("message", [row[0] for row in ROWS])
def test_each_message_is_expected_of_a_run_by_airflows_scheduler(message):
    assert [part for part in parts(message) if part not in RUNS] == []


def parts(message: str) -> list[str]:
    """What is between the dots in the first code on the page."""
    return [part.strip() for part in re.search("`(.+?)`", message)[1].split("…")]


def test_each_command_is_a_verb_of_the_makefile():
    named = set(re.findall(r"`make ([a-z-]+)", TABLE))
    assert named == {"manifest"}
    assert named <= set(VERBS)
