"""The line that repeats a task, pasted into a shell."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from include.engine.run.rerun import shell_line
from include.engine.settings import ROOT

ARGUMENTS = [
    ["run", "--select", "orders"],
    ["run", "--select", "orders", """--vars={"a": "it's $$x$$ ${HOME} `id` \\\\ # %"}"""],
    ["show", "--inline", "select '\"' from {{ ref('orders') }};\n-- !"],
]


@pytest.fixture
def paste(tmp_path):
    """Pastes a line into a shell in which Python prints its arguments as JSON."""
    python = tmp_path / "python"
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    python.write_text(f"""#!/bin/sh\nexec "{sys.executable}" -c '{program}' "$@"\n""")
    python.chmod(0o755)
    make = 'make() { command make -s -o airflow-venv -o dbt-venv AIRFLOW="$STUB" "$@"; }\n'
    names = 'python() { "$STUB" "$@"; }\n' + make

    def run(line: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", names + line],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "STUB": str(python)},
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("argv", ARGUMENTS)
def test_dbt_gets_its_arguments_by_make(paste, argv):
    *before, text = paste(shell_line(argv, by_make=True))
    assert before == ["-m", "scripts.local", "dbt", "--"]
    assert shlex.split(text) == argv


@pytest.mark.parametrize("argv", ARGUMENTS)
def test_dbt_gets_its_arguments_without_make(paste, argv):
    assert paste(shell_line(argv, by_make=False)) == ["-m", "include.engine.run.dbt", *argv]
