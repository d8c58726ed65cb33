"""The version that the project says it has."""

from __future__ import annotations

import re
import subprocess

from include.engine import settings
from include.engine.version import VERSION


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## (\S+)", (settings.ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == VERSION
    assert len(headings) == len(set(headings))


def test_help_begins_with_this_version():
    done = subprocess.run(
        ["make", "-s", "-C", str(settings.ROOT)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == f"dbt on Airflow, one task per model: version {VERSION}"
