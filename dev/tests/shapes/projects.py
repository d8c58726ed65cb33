"""dbt projects in the shapes that strangers' projects have, written file by file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from include.engine import settings

PROFILE = """\
shapes:
  target: dev
  outputs:
    dev: {type: postgres, host: localhost, port: 5432, user: u, password: p, dbname: d, schema: s}
"""
PROJECT = "{name: shapes, version: '1.0', profile: shapes, model-paths: [models]}\n"
MODEL = "select 1 as id\n"


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes a dbt project with these files, by path."""
    for name, text in {"dbt_project.yml": PROJECT, "profiles.yml": PROFILE, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def parse_project(folder: Path, target: Path) -> Path:
    """The manifest that dbt itself makes of the project, without a database."""
    dbt = settings.ROOT / ".dbt" / "venv" / "bin" / "dbt"
    places = ("--project-dir", folder, "--profiles-dir", folder, "--target-path", target)
    done = subprocess.run(
        [dbt, "--no-partial-parse", "parse", *places, "--log-path", target],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return target / "manifest.json"


def yaml(value: object) -> str:
    """`value` as YAML: JSON is YAML."""
    return json.dumps(value)
