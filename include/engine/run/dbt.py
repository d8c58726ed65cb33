"""dbt by hand, with the project, the profile and the warehouse of the tasks.

    python -m include.engine.run.dbt run --select orders

`make dbt ARGS="run --select orders"` does the same with the environment of the local Airflow. dbt
keeps its target and its log in `.dbt/by-hand`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from airflow.sdk.exceptions import AirflowException

from include.engine import settings
from include.engine.run import shared_manifests
from include.engine.run.environment import dbt_environment, require_dbt

FOLDER = settings.ROOT / ".dbt" / "by-hand"
# What only serves a task, which reads dbt's log and runs one node.
FOR_TASKS = (
    *("DBT_POPULATE_CACHE", "DBT_LOG_LEVEL_FILE", "DBT_WRITE_JSON"),
    *("DBT_USE_COLORS", "DBT_USE_COLORS_FILE"),
)


def main(argv: Sequence[str]) -> NoReturn:
    """Replaces this process by dbt. Exits with 1 if there is no dbt, or no connection."""
    config = settings.load()
    try:
        require_dbt(config.dbt_executable)
        environment = dbt_environment(config, config.connection, FOLDER)
    except (AirflowException, settings.SettingsError) as error:
        sys.exit(str(error))
    if place := shared_manifests.shared_place(config):
        shared_manifests.fetch(place)
    by_hand = {name: value for name, value in environment.items() if name not in FOR_TASKS}
    os.execvpe("dbt", ("dbt", *argv), os.environ | by_hand)


if __name__ == "__main__":
    main(sys.argv[1:])
