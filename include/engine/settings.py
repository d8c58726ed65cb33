"""Every environment variable that the project reads, with its default and its meaning.

Nothing else in the project reads the environment. Paths are found from this file's own place, so
the same code works in the Astro image, under `astro dev start --standalone` and in a bare checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


File = str
"""A file: its path or, with a scheme, its address in an object store. Empty: none."""

Url = str
"""An address with a scheme, such as `s3://bucket/key`, or an empty text."""

Place = str
"""A folder: its path or, with a scheme, its address in an object store."""

Json = Mapping
"""An object in JSON."""


class SettingsError(ValueError):
    """An environment variable holds a value that it cannot have."""


class _Setting(NamedTuple):
    """What is read from `variable`; `default` is the text read when it is unset.

    A default that starts with `./` is a path below the project's root.
    """

    variable: str
    meaning: str
    default: str


def _setting(variable: str, meaning: str, default: str) -> Any:
    """A field's line in the table of settings, where Python has a default."""
    return _Setting(variable, meaning, default)


class Settings(NamedTuple):
    """What the project was told by its environment; `load` makes it, and nothing else.

    A tuple, since each task's process makes this class anew: a dataclass takes four times as long.
    """

    project_dir: Path = _setting(
        "DBT_PROJECT_DIR", "the dbt project: the folder of `dbt_project.yml`", "./include/dbt"
    )
    profiles_dir: Path = _setting(
        "DBT_PROFILES_DIR", "the folder of `profiles.yml`", "./include/dbt"
    )
    dbt_executable: Path = _setting(
        "DBT_EXECUTABLE",
        "the `dbt` command, in a virtual environment of its own",
        "./.dbt/venv/bin/dbt",
    )
    warm: bool = _setting(
        "DBT_WARM",
        "tasks share a dbt that is started once and forks for each command (include/engine/warm)",
        "true",
    )
    manifest: Path = _setting(
        "DBT_MANIFEST",
        "the manifest that the DAG is made from; outside the folders that the Astro CLI mounts",
        "./.dbt/manifest/manifest.json",
    )
    more_manifests: tuple[Path, ...] = _setting(
        "DBT_MORE_MANIFESTS",
        "other places of that file, with commas between them: the newest is taken",
        "",
    )
    manifest_url: Url = _setting(
        "DBT_MANIFEST_URL",
        "a manifest built elsewhere, taken instead: `s3://`, `gs://`, `file://` and the like",
        "",
    )
    docs_catalog: File = _setting(
        "DBT_DOCS_CATALOG",
        "where a last task of `dbt_dag` puts what the warehouse knows of columns and sizes: a "
        "file, or `s3://`, `gs://` and the like; empty: there is no such task",
        "",
    )
    packages: Path = _setting(
        "DBT_PACKAGES_INSTALL_PATH",
        "where `dbt deps` installs packages, if `dbt_project.yml` asks for this variable",
        "./.dbt/packages",
    )
    connection: str = _setting(
        "DBT_CONNECTION", "the Airflow connection of the warehouse", "warehouse"
    )
    schedule: str = _setting(
        "DBT_SCHEDULE",
        "when `dbt_dag` runs: cron in UTC, `@daily`, `PT6H`, `assets`, `@daily or assets`, `none`",
        "@daily",
    )
    retries: int = _setting(
        "DBT_RETRIES",
        "how often a task is tried again; a test that failed on its data never is",
        "2",
    )
    retry_delay: int = _setting(
        "DBT_RETRY_DELAY",
        "seconds before the first retry; each further one waits twice as long",
        "60",
    )
    pool: str = _setting(
        "DBT_POOL",
        "the Airflow pool of the tasks, which limits the dbt commands at a time; it has to exist",
        "",
    )
    select: str = _setting(
        "DBT_SELECT",
        "limits the DAG: dbt's `--select`, resolved by dbt when the manifest is built",
        "",
    )
    exclude: str = _setting("DBT_EXCLUDE", "limits the DAG: dbt's `--exclude`, likewise", "")
    selector: str = _setting(
        "DBT_SELECTOR", "limits the DAG: the name of a selector in `selectors.yml`, likewise", ""
    )
    select_state: str = _setting(
        "DBT_SELECT_STATE", "the folder of an earlier manifest, for `state:` in `DBT_SELECT`", ""
    )
    gate_tests: bool = _setting(
        "DBT_GATE_TESTS", "a failed test holds back what `dbt build` would skip", "true"
    )
    unit_tests: bool = _setting("DBT_UNIT_TESTS", "unit tests run before their model", "false")
    source_freshness: bool = _setting(
        "DBT_SOURCE_FRESHNESS",
        "sources with a freshness rule are checked before they are read",
        "false",
    )
    saved_queries: bool = _setting(
        "DBT_SAVED_QUERIES", "saved queries with exports get a task", "false"
    )
    runs_folder: Place = _setting(
        "DBT_RUNS",
        "where each DAG run leaves its `run_results.json` and manifest: a folder, or `s3://`, "
        "`gs://` and the like",
        "./.dbt/runs",
    )
    runs_kept: int = _setting("DBT_RUNS_KEPT", "how many runs of a DAG are kept there", "30")
    failing_rows: int = _setting(
        "DBT_FAILING_ROWS",
        "how many of the rows that fail a test its log and alert show: they may be personal",
        "0",
    )
    alert_notifier: str = _setting(
        "DBT_ALERT_NOTIFIER",
        "the Airflow notifier that is told of a failed task: the path to import its class from",
        "",
    )
    alert_arguments: Json = _setting(
        "DBT_ALERT_ARGUMENTS", "its arguments, as JSON; templates may use `alert`", "{}"
    )
    alert_warnings: bool = _setting("DBT_ALERT_WARNINGS", "it is told of warnings, too", "false")


def load(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Settings:
    """The settings of `environ`; a variable that is unset or empty has its default.

    Raises SettingsError, naming the variable, for a value of the wrong kind.
    """
    parse = {
        "Path": lambda _, text: root / text,
        "tuple[Path, ...]": lambda _, text: tuple(root / part.strip() for part in _parts(text)),
        "File": lambda _, text: text if not text or "://" in text else str(root / text),
        "Url": _url,
        "Place": lambda _, text: text if "://" in text else str(root / text),
        "Json": _json,
        "bool": _boolean,
        "int": _integer,
        "str": lambda _, text: text,
    }
    return Settings(
        **{
            name: parse[_kind(name)](
                setting.variable, environ.get(setting.variable) or setting.default
            )
            for name, setting in Settings._field_defaults.items()
        }
    )


def _kind(name: str) -> str:
    """The annotation of a setting, which `typing` wraps in some versions of Python."""
    found = Settings.__annotations__[name]
    return getattr(found, "__forward_arg__", found)


def table() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for the README's table and its test."""
    return [
        (setting.variable, setting.default.removeprefix("./"), setting.meaning)
        for setting in Settings._field_defaults.values()
    ]


def _boolean(variable: str, text: str) -> bool:
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise SettingsError(f"{variable} is {text!r}; it takes true or false")


def _integer(variable: str, text: str) -> int:
    if text.strip().isdecimal():
        return int(text)
    raise SettingsError(f"{variable} is {text!r}; it takes a whole number")


def _json(variable: str, text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise SettingsError(f"{variable} is {text!r}; it takes an object in JSON")


def _parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]


def _url(variable: str, text: str) -> str:
    if not text or "://" in text:
        return text
    raise SettingsError(f"{variable} is {text!r}; it takes a URL such as s3://bucket/manifest.json")
