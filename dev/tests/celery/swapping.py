"""One Airflow that runs one dbt project after another: each in the place of the one before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from dev.tests import sample
from dev.tests.oracle import projects
from dev.tests.scheduled import aftermath
from dev.tests.scheduled.installation import dag_arguments, triggered
from scripts.local import airflow, postgres
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import Paths

SEEDS = (1, 2, 3, 6, 9, 10, 11, 13, 21, 22)[: int(os.environ.get("GENERATED_PROJECTS", "10"))]
"""Generated projects with planted failures that fail in every one of them."""
OURS = "table_schema not in ('pg_catalog', 'information_schema')"


@dataclass(frozen=True)
class Project:
    """A dbt project in `folder`, and the SQL that makes its sources."""

    name: str
    folder: Path
    setup: list[str] = field(default_factory=list)


def generated(seed: int, folder: Path) -> Project:
    """The oracle's project of that seed, with the failures that are planted in it."""
    spec = projects.generate(seed, folder)
    (folder / "profiles.yml").unlink()  # it names the oracle's own Postgres
    return Project(f"oracle_{seed}", folder, spec.setup)


class Installation:
    """An Airflow whose dbt project can be swapped."""

    def __init__(self, at: Paths) -> None:
        self.at = at
        self.project = at.state / "project"
        self.manifests = at.state / "manifests"

    def environment(self) -> dict[str, str]:
        return {
            "DBT_PROJECT_DIR": str(self.project),
            "DBT_PROFILES_DIR": str(self.project),
            "DBT_MANIFEST": str(self.manifests / "now" / "manifest.json"),
            "DBT_RUNS": str(self.at.state / "runs"),
            **dag_arguments(schedule="none", retries=0),
        }

    def put(self, project: Project) -> None:
        """Put the project and its manifest, which is built once, in their places."""
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.copytree(project.folder, self.project)
        now, kept = self.manifests / "now", self.manifests / project.name
        shutil.rmtree(now, ignore_errors=True)
        if kept.exists():
            shutil.copytree(kept, now)
            return
        sample.build_manifest(self.environment())
        shutil.copytree(now, kept)

    def run(self, api: Api, project: Project, run_id: str) -> str:
        """Run the project in an empty warehouse. Returns the state of the run."""
        self.put(project)
        self.empty(project.setup)
        since = datetime.now(timezone.utc)
        api.parse_again()
        airflow.wait_until_parsed(self.at, api, since, "up")
        api.unpause()
        return triggered(api, run_id)

    def empty(self, setup: list[str]) -> None:
        """Drop all that is in the warehouse, then make the sources."""
        for (schema,) in self.ask(
            "select schema_name from information_schema.schemata where schema_name !~ '^pg_'"
            " and schema_name not in ('information_schema', 'public')"
        ):
            self.ask(f'drop schema "{schema}" cascade')
        for statement in setup:
            self.ask(statement)

    def ask(self, statement: str) -> list[tuple]:
        """The rows of a statement in the warehouse."""
        with postgres.cursor(self.at, load_secrets(self.at), "warehouse") as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def left(self, api: Api, run_id: str) -> dict[str, object]:
        """All that a run leaves and that is equal for every executor."""
        return {
            "states": aftermath.states(api, run_id),
            "results": aftermath.results(self.at.state / "runs", run_id),
            "published": aftermath.published(api, run_id),
            "tables": tables(self.ask),
        }


def tables(ask: Callable[[str], list]) -> dict[str, Sequence]:
    """By relation: its number of rows, and a checksum of all that does not say when it ran.

    `ask` returns the rows of a statement in the warehouse.
    """
    columns: dict[str, list[str]] = {}
    for schema, table, column in ask(
        "select table_schema, table_name, column_name from information_schema.columns"
        f" where {OURS} and data_type !~ '^timestamp' and column_name !~ '^dbt_'"
        " order by 1, 2, 3"
    ):
        columns.setdefault(f'"{schema}"."{table}"', []).append(f'"{column}"')
    return {
        table: ask(
            "select count(*), md5(string_agg(line, '|' order by line collate \"C\")) from"
            f" (select row({', '.join(names)})::text as line from {table}) as lines"
        )[0]
        for table, names in columns.items()
    }
