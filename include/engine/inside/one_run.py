"""One time and one id for all commands of a DAG run, as for all nodes of one `dbt build`.

What Jinja reads as `run_started_at` and `invocation_id` is then DBT_RUN_STARTED_AT (ISO 8601) and
DBT_RUN_INVOCATION_ID, if these variables are set.
"""

import os
from datetime import datetime

import pytz
from dbt import tracking
from dbt.parser.manifest import ManifestLoader
from dbt_common import invocation


def take_over() -> None:
    """Let the command that runs now be one of its DAG run; dbt gives the next one its own again."""
    if given := os.environ.get("DBT_RUN_INVOCATION_ID"):
        invocation._INVOCATION_ID = given
    if given := os.environ.get("DBT_RUN_STARTED_AT"):
        tracking.active_user.run_started_at = datetime.fromisoformat(given).astimezone(pytz.utc)


def install() -> None:
    """The same for the command of a process that no server has prepared."""
    parse = ManifestLoader.get_full_manifest

    def get_full_manifest(*arguments, **options) -> object:
        take_over()
        return parse(*arguments, **options)

    ManifestLoader.get_full_manifest = staticmethod(get_full_manifest)
