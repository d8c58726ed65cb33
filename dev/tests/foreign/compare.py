"""Takes a dbt project in as a person does, runs it, and builds the same by one `dbt build`.

The project is adopted and run in a fresh clone of this repository by make's verbs, in one database.
The untouched project is built by dbt in another database of the same server. Each side is a Result,
and the two have to be equal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg2
import yaml
from psycopg2 import sql

from include.engine import settings

# What a person's shell may hold; each project says itself what it wants.
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("AIRFLOW", "DBT_", "GIT_", "MAKE", "MFLAGS", "WAREHOUSE_"))
}
GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com")
# `dbt build` reports these without doing anything for them; they have no task.
WITHOUT_TASK = ("exposure.", "saved_query.", "metric.", "semantic_model.", "operation.")
RELATIONS = """
    select n.nspname, c.relname, c.relkind from pg_class c join pg_namespace n
    on n.oid = c.relnamespace where c.relkind in ('r', 'v', 'm')
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
"""
ROWS = "select count(*), md5(string_agg(md5(t::text), '' order by md5(t::text))) from {} t"
VENVS = (".airflow/venv", ".dbt/venv")


class Result(NamedTuple):
    """The status of each node, and (kind, rows, checksum) of each relation, by schema and name."""

    statuses: dict[str, str]
    relations: dict[str, tuple[str, int, str | None]]


def make_clone(folder: Path, venvs: Mapping[str, Path] | None = None) -> Path:
    """This repository as it is now, committed, with the environments of this one."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=settings.ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, names.stdout.split("\0")):
        if (settings.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(settings.ROOT / name, folder / name)
    for name in VENVS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((venvs or {}).get(name, (settings.ROOT / name).resolve()))
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """Makes a commit of all that is in the folder, which becomes a repository if it is none."""
    for arguments in (("init", "-q"), ("add", "--all"), ("commit", "-q", "-m", "Now")):
        done = subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 or "nothing to commit" in done.stdout, done.stderr


def make(clone: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """The exit code and the output of make's verb."""
    done = subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env={**CLEAN, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def run_adopted(clone: Path, host: Path, **variables: str) -> tuple[Result, str]:
    """What `make run` makes of the clone's project in a new database, and what it says."""
    connection = {"conn_type": "postgres", "host": str(host), "login": "postgres"}
    runs = clone / ".dbt" / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    create_database(host, "adopted")
    connection["schema"] = "adopted"
    _, output = make(clone, "run", **variables, AIRFLOW_CONN_WAREHOUSE=json.dumps(connection))
    file = runs / "dag_id=dbt_dag" / "latest" / "run_results.json"
    assert file.exists(), output
    return Result(statuses(file), relations(host, "adopted")), output


def build_plain(
    project: Path, host: Path, *arguments: str, profile: Path | None = None, **variables: str
) -> tuple[Result, str]:
    """What one `dbt build` makes of the project in a new database, and what it says."""
    create_database(host, "plain")
    dbt = settings.ROOT / ".dbt" / "venv" / "bin" / "dbt"
    profiles = profile or own_profile(project, host)
    target = Path(tempfile.mkdtemp(prefix="foreign-target-"))
    command = [dbt, "--no-use-colors", "build", *arguments, "--profiles-dir", profiles]
    done = subprocess.run(
        [*command, "--target-path", target, "--log-path", target],
        cwd=project,
        env={**CLEAN, "DO_NOT_TRACK": "1", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (target / "run_results.json").exists(), done.stdout
    result = Result(statuses(target / "run_results.json"), relations(host, "plain"))
    shutil.rmtree(target)
    return result, done.stdout


def own_profile(project: Path, host: Path) -> Path:
    """A folder with the profile that people keep in ~/.dbt."""
    name = yaml.safe_load((project / "dbt_project.yml").read_text()).get("profile")
    output = {"type": "postgres", "host": str(host), "port": 5432, "user": "postgres"}
    output |= {"password": "none", "dbname": "plain", "schema": "analytics", "threads": 4}
    folder = Path(tempfile.mkdtemp(prefix="foreign-profile-"))
    profile = {name: {"target": "dev", "outputs": {"dev": output}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profile))
    return folder


def statuses(file: Path) -> dict[str, str]:
    """The status of each node that does something, by its id."""
    results = json.loads(file.read_bytes())["results"]
    return {
        result["unique_id"]: result["status"]
        for result in results
        if not result["unique_id"].startswith(WITHOUT_TASK)
    }


def create_database(host: Path, name: str) -> None:
    """An empty database, in the place of one of that name."""
    connection = psycopg2.connect(host=str(host), user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        for text in ("drop database if exists {} with (force)", "create database {}"):
            cursor.execute(sql.SQL(text).format(sql.Identifier(name)))
    connection.close()


def relations(host: Path, database: str) -> dict[str, tuple[str, int, str | None]]:
    """(kind, rows, checksum) of each relation, by schema and name."""
    found = {}
    connection = psycopg2.connect(host=str(host), user="postgres", dbname=database)
    with connection, connection.cursor() as cursor:
        cursor.execute(RELATIONS)
        for schema, name, kind in cursor.fetchall():
            cursor.execute(sql.SQL(ROWS).format(sql.Identifier(schema, name)))
            found[f"{schema}.{name}"] = (kind, *cursor.fetchone())
    connection.close()
    return found


def differences(adopted: Result, plain: Result) -> list[str]:
    """A line for each node or relation that is not the same on both sides."""
    lines = []
    for one, other in zip(adopted, plain, strict=True):
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                lines.append(f"{name}: {one.get(name)} here, {other.get(name)} by dbt build")
    return lines
