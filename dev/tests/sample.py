"""The dbt project that the engine's tests build: `jaffle_shop` beside this file, with its seeds.

It is the template's sample, and stays when a user puts another project into include/dbt.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from dev import make_seeds
from include.engine import settings

SOURCE = Path(__file__).with_name("jaffle_shop")
FOLDER = settings.ROOT / ".airflow" / "sample"
PROJECT = FOLDER / "jaffle_shop"
DAGS = Path(__file__).with_name("dags")
"""The folder of the DAG file of these tests."""


@cache
def environment() -> dict[str, str]:
    """The variables that name the project and its manifest; both are made where they are not."""
    variables = {
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_MANIFEST": str(FOLDER / "manifest" / "manifest.json"),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    stamp = FOLDER / "made-of"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs started at once make it once
        wanted = made_of()
        if not stamp.exists() or stamp.read_text() != wanted:
            write_project(PROJECT)
            build_manifest(variables)
            stamp.write_text(wanted)
    return variables


def write_project(folder: Path) -> Path:
    """Writes the project, with its seeds, in the place of what is in `folder`; returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder)
    make_seeds.write_seeds(folder / "seeds")
    return folder


def build_manifest(variables: dict[str, str]) -> None:
    """Has dbt build the manifest that `variables` name. Raises CalledProcessError, with its output
    shown, where dbt fails.
    """
    subprocess.run(
        [sys.executable, "-m", "include.engine.manifest.build"],
        cwd=settings.ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        check=True,
    )


def made_of() -> str:
    """A digest of all that the project and its manifest are made of."""
    build = [Path(make_seeds.__file__), *sorted((settings.ROOT / "include/engine").rglob("*.py"))]
    files = [*build, *sorted(file for file in SOURCE.rglob("*") if file.is_file())]
    pins = settings.ROOT / "requirements-dbt.txt"
    digest = hashlib.sha256()
    for file in (*files, pins):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()
