"""docs/dbt-v2.md lists all that the engine uses of dbt: command line, environment and artifacts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from include.engine import settings

ENGINE = settings.ROOT / "include" / "engine"
PAGE = settings.ROOT / "docs" / "dbt-v2.md"
READ_ARTIFACTS = ("manifest/records.py", "run/results.py", "run/failures.py")

# Keys in these modules that are of the engine, or of a record that is made there.
OWN_KEYS = {"airflow", "artifact", "asset", "enabled_in_run", "selected"}
# Variables that the engine hands to its own warm dbt, and that no other dbt reads.
OWN_VARIABLES = {
    "DBT_HOOKS",
    "DBT_HOOKS_EACH",
    "DBT_HOOKS_OF",
    "DBT_RUN_INVOCATION_ID",
    "DBT_RUN_STARTED_AT",
    "DBT_WARM_IDLE",
}


def cold_modules() -> list[Path]:
    """The modules of the engine without those that are for dbt's Python API only."""
    python_only = {"inside", "warm"}
    return [path for path in sorted(ENGINE.rglob("*.py")) if not python_only & set(path.parts)]


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """Each literal text in the code, docstrings aside: they hold spaces."""
    for path in paths:
        for part in ast.walk(ast.parse(path.read_text())):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def keys_read(path: Path) -> Iterator[str]:
    """The literal keys of `x["key"]` and `x.get("key")`."""
    for part in ast.walk(ast.parse(path.read_text())):
        if isinstance(part, ast.Subscript):
            key = part.slice
        elif isinstance(part, ast.Call) and getattr(part.func, "attr", "") == "get" and part.args:
            key = part.args[0]
        else:
            continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def listed(heading: str) -> set[str]:
    """What stands in backticks in the first column of the table below a heading of the page."""
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_flag_that_the_engine_gives_to_dbt_is_listed_and_no_other():
    found = {m[1] for text in texts(cold_modules()) if (m := re.match(r"(--[a-z][a-z-]+)", text))}
    # Made from names: `--{name}` of the form's fields.
    found |= {"--select", "--exclude", "--event-time-start", "--event-time-end"}
    assert {flag for flag in found if not flag.endswith("-")} == listed("Flags")


def test_every_variable_that_the_engine_sets_for_dbt_is_listed_and_no_other():
    settings_of_the_engine = {variable for variable, _, _ in settings.table()}
    given = {
        text
        for text in texts(path for path in cold_modules() if path.name != "settings.py")
        if re.fullmatch(r"DBT_[A-Z_]+", text)
    } - OWN_VARIABLES
    dbts_own = {"DBT_PROJECT_DIR", "DBT_PROFILES_DIR", "DBT_PACKAGES_INSTALL_PATH"}
    assert given - (settings_of_the_engine - dbts_own) == listed("Environment variables")


def test_every_field_of_an_artifact_that_the_engine_reads_is_listed():
    read = {key for name in READ_ARTIFACTS for key in keys_read(ENGINE / name)}
    assert read - OWN_KEYS - listed("Artifacts") == set()


def test_every_command_of_a_task_is_listed():
    from include.engine.plan.tasks import VERBS

    commands = listed("Commands")
    assert {f"dbt {verb[0]}" for verb in VERBS.values()} - {"dbt source"} <= commands
    assert {"dbt source freshness", "dbt ls", "dbt parse", "dbt compile", "dbt deps"} <= commands
