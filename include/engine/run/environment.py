"""What dbt's commands find in their environment when a task runs them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include.engine import settings
from include.engine.run.shared_manifests import local_folder
from include.engine.warehouse import connection
from include.engine.warehouse.profile import ProfileError, choose_profile, write_profile
from include.engine.warehouse.variables import SECRET

# Its `dbt` has the command line of dbt itself. A warm dbt runs the command if there is one; else it
# takes its manifest from where an earlier one has left it.
WARM = settings.ROOT / "include" / "engine" / "warm" / "bin"

FIELDS = ("conn_type", "host", "port", "login", "password", "schema")


def dbt_environment(
    config: settings.Settings, connection_id: str, folder: Path, target: str | None = None
) -> dict[str, str]:
    """What dbt's commands have in their environment besides what is there.

    `folder` is this try's own; `target` is the run's, if it has one. The warehouse is in no field
    of the operator, which Airflow's database would keep. Raises AirflowFailException if there is no
    connection or no profile.
    """
    warehouse = warehouse_connection(connection_id)
    paths = local_paths(config, folder, os.environ["PATH"])
    try:
        profile = choose_profile(config, warehouse, {**os.environ, **paths}, target)
    except ProfileError as error:
        raise AirflowFailException(str(error)) from None
    for name, value in profile.environment.items():
        if value and name.startswith(SECRET):
            mask_secret(value)  # Airflow's supervisor masks logs; an XCom or an alert, this process
    made = write_profile(profile, folder / "profile")
    return {
        **paths,
        **profile.environment,
        **({"DBT_PROFILES_DIR": str(made)} if made else {}),
    }


def warehouse_connection(connection_id: str) -> connection.Connection:
    """The Airflow connection of that id. Raises AirflowFailException, with what defines it, if
    there is none.
    """
    try:
        found = Connection.get(connection_id)
    except AirflowNotFoundException:
        raise AirflowFailException(no_connection(connection_id)) from None
    fields = {name: getattr(found, name) for name in FIELDS}
    return connection.from_fields({**fields, "extra": found.extra_dejson})


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
    return {
        "PATH": os.pathsep.join((str(launcher(folder)), str(config.dbt_executable.parent), path)),
        "DBT_EXECUTABLE": str(config.dbt_executable),
        # For one node dbt looks up what it needs, instead of listing all relations first.
        "DBT_POPULATE_CACHE": "false",
        "DBT_PROJECT_DIR": str(config.project_dir),
        "DBT_PROFILES_DIR": str(config.profiles_dir),
        "DBT_PACKAGES_INSTALL_PATH": str(config.packages),
        "DBT_MANIFEST_CACHE": local_folder(config),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        # Of the file only errors are read (run/failures.py); all else is a tenth of a command.
        "DBT_LOG_LEVEL_FILE": "error",
        # The results are read from a file, whatever the project's flags say.
        "DBT_WRITE_JSON": "true",
        "DBT_USE_COLORS": "false",
        "DBT_USE_COLORS_FILE": "false",
    }


def launcher(folder: Path) -> Path:
    """The folder of the launcher.

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
    """Raises AirflowFailException, with the command that fixes it, if `dbt` cannot be run."""
    if not os.access(dbt, os.X_OK):
        raise AirflowFailException(
            f"No dbt at {dbt}. Install it with: make manifest (in an Astro project: rebuild the "
            "image), or name another one in DBT_EXECUTABLE"
        )
