"""dbt by hand: `python -m include.engine.run.dbt`."""

from __future__ import annotations

import os
import subprocess
import sys

from include.engine import settings

SHOW = '#!/bin/sh\nprintf "%s\\n" "$DBT_PROJECT_DIR" "$@"\n'


def test_a_relative_project_folder_is_the_same_in_every_folder(dbt, tmp_path):
    """`.env` names it relative to this project; dbt alone takes it from the folder one is in."""
    (dbt / "bin" / "dbt").write_text(SHOW)
    given = {
        "DBT_PROJECT_DIR": "dev/tests/jaffle_shop",
        "DBT_WARM": "false",
        "PATH": f"{dbt / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(settings.ROOT),
    }
    command = [sys.executable, "-m", "include.engine.run.dbt", "ls"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | given, capture_output=True, text=True
    )
    expected = [str(settings.ROOT / "dev/tests/jaffle_shop"), "ls"]
    assert done.stdout.splitlines() == expected, done.stderr
