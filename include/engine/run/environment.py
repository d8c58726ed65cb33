"""What dbt's commands find in their environment when a task runs them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include.engine import settings

# Its `dbt` has the command line of dbt itself; a warm dbt runs the command if there is one.
WARM = settings.ROOT / "include" / "engine" / "warm" / "bin"


def dbt_environment(config: settings.Settings, connection: str, folder: Path) -> dict[str, str]:
    """What dbt's commands have in their environment besides what is there; `folder` is this try's
    own. Raises what `connection_of` raises.
    """
    here = local_paths(config, folder, os.environ["PATH"])
    return here | warehouse_environment(warehouse_connection(connection))


def warehouse_connection(connection: str) -> Connection:
    """The Airflow connection of that id; what is secret in it is masked from here on.

    Raises AirflowFailException, with what defines it, if there is none.
    """
    try:
        found = Connection.get(connection)
    except AirflowNotFoundException:
        raise AirflowFailException(no_connection(connection)) from None
    for secret in (found.password, found.extra_dejson):
        if secret:  # Airflow's supervisor masks logs; an XCom or an alert is written from here
            mask_secret(secret)
    return found


def warehouse_environment(connection: Connection) -> dict[str, str]:
    """The environment that `profiles.yml` reads. In a Postgres connection of Airflow the field
    `schema` is the database; dbt scrubs variables that start with DBT_ENV_SECRET_ from its logs.

    No field of the operator: that would be in Airflow's database, and templates on a connection are
    each a question to Airflow's API, in every task.
    """
    return {
        "WAREHOUSE_HOST": connection.host or "",
        "WAREHOUSE_PORT": str(connection.port or ""),
        "WAREHOUSE_USER": connection.login or "",
        "WAREHOUSE_DATABASE": connection.schema or "",
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": connection.password or "",
        "WAREHOUSE_EXTRA": connection.extra or "{}",
    }


def no_connection(connection_id: str) -> str:
    """What to do about a connection that is not there."""
    variable = f"AIRFLOW_CONN_{connection_id.upper()}"
    # A shell exports no other names: there is none for `my-wh`.
    exported = f"the environment variable {variable} (see .env.example) or with: "
    return (
        f"No Airflow connection {connection_id!r}. Define it with "
        f"{exported if variable.isascii() and variable.isidentifier() else ''}"
        f"airflow connections add {connection_id} --conn-type postgres --conn-host …"
    )


def local_paths(config: settings.Settings, folder: Path, path: str) -> dict[str, str]:
    """The paths of this machine that dbt takes from its environment; `folder` is this try's own."""
    first = (
        [str(launcher(folder)), str(config.dbt_executable.parent)]
        if config.warm
        else [str(config.dbt_executable.parent)]
    )
    return {
        "PATH": os.pathsep.join((*first, path)),
        "DBT_EXECUTABLE": str(config.dbt_executable),
        # For one node dbt looks up what it needs, instead of listing all relations first.
        "DBT_POPULATE_CACHE": "false",
        "DBT_PROJECT_DIR": str(config.project_dir),
        "DBT_PROFILES_DIR": str(config.profiles_dir),
        "DBT_PACKAGES_INSTALL_PATH": str(config.packages),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        # Of the file only errors are read (run/failures.py); all else is a tenth of a command.
        "DBT_LOG_LEVEL_FILE": "error",
        "DBT_USE_COLORS": "false",
        "DBT_USE_COLORS_FILE": "false",
    }


def launcher(folder: Path) -> Path:
    """The folder of the launcher of the warm dbt.

    `astro dev init --from-template` drops execute bits. Then one in `folder` starts the launcher.
    """
    if os.access(WARM / "dbt", os.X_OK):
        return WARM
    made = folder / "bin" / "dbt"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(f'#!/bin/sh\nexec sh {shlex.quote(str(WARM / "dbt"))} "$@"\n')
    made.chmod(0o755)
    return made.parent


def require_dbt(dbt: Path) -> None:
    """Raises AirflowFailException, with the command that mends it, where `dbt` cannot be run."""
    if not os.access(dbt, os.X_OK):
        raise AirflowFailException(
            f"No dbt at {dbt}. Install it with: make manifest (in an Astro project: rebuild the "
            "image), or name another one in DBT_EXECUTABLE"
        )
