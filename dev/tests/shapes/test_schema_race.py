"""Two dbt commands that create one schema at the same moment, on a real Postgres."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psycopg2

from dev.tests.shapes.projects import PROFILE, write_project
from include.engine import settings
from include.engine.run.process import DbtProcess, shell_command

BLOCKED = """
select count(*) from pg_stat_activity
where wait_event_type = 'Lock' and query ilike '%%create schema%%' and datname = %s
"""


def test_a_command_that_loses_the_race_for_its_schema_runs_once_more(postgres, tmp_path, capsys):
    """The other one has created the schema and not yet committed: dbt waits for it, and then fails
    with "duplicate key value violates unique constraint" in spite of its `if not exists`.
    """
    profile = PROFILE.replace("host: localhost", f"host: {postgres}").replace(
        "dbname: d", "dbname: postgres"
    )
    files = {
        "profiles.yml": profile.replace("user: u", "user: postgres"),
        "seeds/rows.csv": "id\n1\n",
    }
    project = write_project(tmp_path / "project", files)
    other = psycopg2.connect(host=str(postgres), user="postgres", dbname="postgres")
    with other.cursor() as cursor:
        cursor.execute("create schema s")
    done = threading.Thread(target=commit_once_blocked, args=(other, postgres))
    done.start()
    result = DbtProcess(settings.ROOT / ".dbt/venv/bin/dbt", warm=False).run_command(
        ["bash", "-c", shell_command(["seed"])], env=environment(project, tmp_path)
    )
    done.join()
    output = capsys.readouterr().out
    assert result.exit_code == 0, output
    assert 'duplicate key value violates unique constraint "pg_namespace_nspname_index"' in output
    assert output.count("Another task created the same schema at this moment: once more") == 1
    with other.cursor() as cursor:
        cursor.execute("select id from s.rows")
        assert cursor.fetchall() == [(1,)]
    other.close()


def commit_once_blocked(other, postgres: Path) -> None:
    """Commits when dbt waits for this transaction."""
    watch = psycopg2.connect(host=str(postgres), user="postgres", dbname="postgres")
    watch.autocommit = True
    with watch.cursor() as cursor:
        for _ in range(600):
            cursor.execute(BLOCKED, ("postgres",))
            if cursor.fetchone()[0]:
                break
            time.sleep(0.1)
    watch.close()
    other.commit()


def environment(project: Path, folder: Path) -> dict[str, str]:
    dbt = settings.ROOT / ".dbt/venv/bin"
    return os.environ | {
        "PATH": f"{dbt}{os.pathsep}{os.environ['PATH']}",
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_LOG_LEVEL_FILE": "error",
    }
