"""docs/failures-and-alerts.md has the messages that tasks end with, as the code writes them."""

from __future__ import annotations

import re

import pytest

from include.engine import settings

PAGE = (settings.ROOT / "docs" / "failures-and-alerts.md").read_text()
TABLE = PAGE.split("| you see | it means | do this |\n|---|---|---|\n")[1].split("\n\n")[0]
ROWS = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in TABLE.splitlines()]

# Texts that are written over several lines are one text to Python.
CODE = re.sub(
    r'"\s*\n\s*f?"',
    "",
    "\n".join(file.read_text() for file in (settings.ROOT / "include" / "engine").rglob("*.py")),
)
VERBS = re.findall(r"^([a-z-]+):", (settings.ROOT / "Makefile").read_text(), re.M)


def test_each_row_says_what_it_means_and_what_to_do():
    assert len(ROWS) > 10
    assert [row for row in ROWS if len(row) != 3 or not all(row)] == []


@pytest.mark.parametrize("message", [row[0] for row in ROWS])
def test_each_message_is_written_by_the_code(message):
    parts = [part.strip() for part in re.search("`(.+?)`", message)[1].split("…")]
    assert [part for part in parts if part not in CODE] == []


def test_each_command_is_a_verb_of_the_makefile():
    named = set(re.findall(r"`make ([a-z-]+)", TABLE))
    assert named == {"manifest"}
    assert named <= set(VERBS)
