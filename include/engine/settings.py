"""Every environment variable that the project reads: what the machine is, with its defaults.

What Airflow people look for in a DAG file (schedule, retries, pool, callbacks) is an argument in
`dags/dbt_dag.py` instead. Paths are found from this file's own place, so the same code works in the
Astro image, under `astro dev start --standalone` and in a bare checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]

INCLUDED = "./include/dbt"
# Below it `astro dbt deploy` mounts a dbt project that has a repository of its own.
DEPLOYED = "dbt"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class SettingsError(ValueError):
    """An environment variable holds a value that it cannot have."""


class Settings(NamedTuple):
    """The values of the settings; each has its line in TABLE, which says what it means.

    Those that may be an address (`s3://…`) are texts, all other files and folders are paths.
    """

    project_dir: Path
    profiles_dir: Path
    dbt_executable: Path
    warm: bool
    manifest: Path
    more_manifests: tuple[Path, ...]
    manifest_url: str
    docs_catalog: str
    packages: Path
    connection: str
    profile_from: str
    target: str
    schema: str
    threads: int
    vars: Mapping[str, Any]
    select: str
    exclude: str
    selector: str
    select_state: str
    gate_tests: bool
    unit_tests: bool
    source_freshness: bool
    saved_queries: bool
    hooks_with_each: str
    manifest_cache: str
    runs_folder: str
    runs_shared: bool
    runs_kept: int
    failing_rows: int
    by_make: bool


def load(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Settings:
    """The settings of `environ`; a variable that is unset or empty has its default.

    Raises SettingsError, naming the variable, for a value of the wrong kind.
    """
    return Settings(
        **{
            name: setting.parse(
                setting.variable,
                environ.get(setting.variable) or _default(setting, environ),
                root,
            )
            for name, setting in TABLE.items()
        }
    )


def _default(setting: Setting, environ: Mapping[str, str]) -> str:
    """The text that is read if the setting's own variable is unset."""
    if not setting.default.startswith("$"):
        return setting.default
    other = next(s for s in TABLE.values() if s.variable == setting.default[1:])
    return environ.get(other.variable) or other.default


def table() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for the documentation and its test."""
    return [
        (setting.variable, setting.default.removeprefix("./"), setting.meaning)
        for setting in TABLE.values()
    ]


def _text(variable: str, text: str, root: Path) -> str:
    return text


def _path(variable: str, text: str, root: Path) -> Path:
    return root / text


def _project(variable: str, text: str, root: Path) -> Path:
    """A path. Where nothing is at the default one, that of the project that was deployed apart."""
    folder = root / text
    if text != INCLUDED or folder.exists():
        return folder
    deployed = sorted(file.parent for file in (root / DEPLOYED).glob("*/dbt_project.yml"))
    if len(deployed) > 1:
        names = ", ".join(f"{DEPLOYED}/{found.name}" for found in deployed)
        raise SettingsError(f"{variable} has to name one of these dbt projects: {names}")
    return deployed[0] if deployed else folder


def is_deployed(project: Path) -> bool:
    """Is it a dbt project that `astro dbt deploy` has put there?"""
    return project.parent == ROOT / DEPLOYED


def _paths(variable: str, text: str, root: Path) -> tuple[Path, ...]:
    return tuple(root / part.strip() for part in text.split(",") if part.strip())


def _path_or_address(variable: str, text: str, root: Path) -> str:
    """A path, or an address in an object store; an empty text stays empty."""
    return text if not text or "://" in text else str(root / text)


def _address(variable: str, text: str, root: Path) -> str:
    if not text or "://" in text:
        return text
    raise SettingsError(f"{variable} is {text!r}; it takes a URL such as s3://bucket/manifest.json")


def _boolean(variable: str, text: str, root: Path) -> bool:
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise SettingsError(f"{variable} is {text!r}; it takes true or false")


def _whole_number(variable: str, text: str, root: Path) -> int:
    if text.strip().isdecimal():
        return int(text)
    raise SettingsError(f"{variable} is {text!r}; it takes a whole number")


def _json(variable: str, text: str, root: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise SettingsError(f"{variable} is {text!r}; it takes an object in JSON")


class Setting(NamedTuple):
    """What is read from `variable`. `default` is the text read when it is unset: one that starts
    with `./` is a path below the project's root, one that starts with `$` is what another variable
    says. `parse` makes the value out of the text.
    """

    variable: str
    parse: Callable[[str, str, Path], Any]
    default: str
    meaning: str


TABLE: Mapping[str, Setting] = {
    "project_dir": Setting(
        "DBT_PROJECT_DIR",
        _project,
        INCLUDED,
        "the dbt project: the folder of `dbt_project.yml`; if there is none, the project that "
        "`astro dbt deploy` put into `dbt/`",
    ),
    "profiles_dir": Setting(
        "DBT_PROFILES_DIR",
        _project,
        "$DBT_PROJECT_DIR",
        "the folder of `profiles.yml`, if there is one",
    ),
    "dbt_executable": Setting(
        "DBT_EXECUTABLE",
        _path,
        "./.dbt/venv/bin/dbt",
        "the `dbt` command, in a virtual environment of its own",
    ),
    "warm": Setting(
        "DBT_WARM", _boolean, "true", "tasks share a dbt that is started once, see docs/warm.md"
    ),
    "manifest": Setting(
        "DBT_MANIFEST",
        _path,
        "./.dbt/manifest/manifest.json",
        "the manifest that the DAG is made from; outside the folders that the Astro CLI mounts",
    ),
    "more_manifests": Setting(
        "DBT_MORE_MANIFESTS",
        _paths,
        "",
        "other paths of that file, with commas between them: the newest file is read",
    ),
    "manifest_url": Setting(
        "DBT_MANIFEST_URL",
        _address,
        "",
        "a manifest built elsewhere, read instead: `s3://`, `gs://`, `file://` and the like",
    ),
    "docs_catalog": Setting(
        "DBT_DOCS_CATALOG",
        _path_or_address,
        "",
        "where a last task of `dbt_dag` writes dbt's catalog (column types and sizes): a file, or "
        "`s3://`, `gs://` and the like; empty: there is no such task",
    ),
    "packages": Setting(
        "DBT_PACKAGES_INSTALL_PATH",
        _path,
        "./.dbt/packages",
        "where `dbt deps` installs packages, if `dbt_project.yml` asks for this variable",
    ),
    "connection": Setting(
        "DBT_CONNECTION", _text, "warehouse", "the id of the warehouse's Airflow connection"
    ),
    "profile_from": Setting(
        "DBT_PROFILE_FROM",
        _text,
        "auto",
        "where dbt's profile comes from: `project` (its `profiles.yml`), `connection` (made of the "
        "Airflow connection), or `auto`: the project's if it can be rendered, else a made one",
    ),
    "target": Setting(
        "DBT_TARGET", _text, "", "dbt's target; empty: the one that the profile names, or `dev`"
    ),
    "schema": Setting(
        "DBT_SCHEMA",
        _text,
        "",
        "the schema in a made profile; empty: that of the connection or of the project's own "
        "profile, or `analytics`",
    ),
    "threads": Setting(
        "DBT_THREADS", _whole_number, "4", "the threads in a made profile; a model takes one"
    ),
    "vars": Setting("DBT_VARS", _json, "{}", "dbt's `--vars` for every command, as JSON"),
    "select": Setting(
        "DBT_SELECT",
        _text,
        "",
        "limits the DAG: dbt's `--select`, resolved by dbt when the manifest is built",
    ),
    "exclude": Setting("DBT_EXCLUDE", _text, "", "limits the DAG: dbt's `--exclude`, likewise"),
    "selector": Setting(
        "DBT_SELECTOR",
        _text,
        "",
        "limits the DAG: the name of a selector in `selectors.yml`, likewise",
    ),
    "select_state": Setting(
        "DBT_SELECT_STATE",
        _text,
        "",
        "the folder of an earlier manifest, for `state:` in `DBT_SELECT`",
    ),
    "gate_tests": Setting(
        "DBT_GATE_TESTS", _boolean, "true", "a failed test holds back what `dbt build` would skip"
    ),
    "unit_tests": Setting("DBT_UNIT_TESTS", _boolean, "false", "unit tests run before their model"),
    "source_freshness": Setting(
        "DBT_SOURCE_FRESHNESS",
        _boolean,
        "false",
        "sources with a freshness rule are checked before they are read",
    ),
    "saved_queries": Setting(
        "DBT_SAVED_QUERIES", _boolean, "false", "saved queries with exports get a task"
    ),
    "hooks_with_each": Setting(
        "DBT_HOOKS_WITH_EACH",
        _text,
        "auto",
        "the packages whose hooks run with each command instead of once per run, with commas "
        "between them; `auto`: those whose hooks share memory with nodes; `none`",
    ),
    "manifest_cache": Setting(
        "DBT_MANIFEST_CACHE",
        _path_or_address,
        "",
        "where dbt's parsed manifests are kept for the dbt that starts next: a folder, or `s3://`, "
        "`gs://` and the like, see docs/warm.md; empty: beside `DBT_MANIFEST`",
    ),
    "runs_folder": Setting(
        "DBT_RUNS",
        _path_or_address,
        "./.dbt/runs",
        "where each DAG run leaves its `run_results.json` and manifest: a folder, or `s3://`, "
        "`gs://` and the like",
    ),
    "runs_shared": Setting(
        "DBT_RUNS_SHARED",
        _boolean,
        "false",
        "the folder `DBT_RUNS` is one disk that all workers share",
    ),
    "runs_kept": Setting(
        "DBT_RUNS_KEPT", _whole_number, "30", "how many runs of a DAG are kept there"
    ),
    "failing_rows": Setting(
        "DBT_FAILING_ROWS",
        _whole_number,
        "0",
        "how many of the rows that fail a test its log and alert show: they may be personal",
    ),
    "by_make": Setting(
        "DBT_BY_MAKE",
        _boolean,
        "false",
        "the command that repeats a task is shown as `make dbt`; `make run` and `make up` set it",
    ),
}
