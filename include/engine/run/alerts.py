"""Alerts are Airflow's: any notifier as `on_failure_callback` in the DAG file gets the lines that a
failed task ends with, masked, as `exception`. This is the same for tasks that dbt warned of.

https://airflow.apache.org/docs/apache-airflow/stable/howto/notifications.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk.log import redact

from include.engine.run.results import WARNINGS

Callback = Callable[[Mapping[str, Any]], None]
"""What Airflow calls with the context of a task."""


def on_warning(notify: Callback) -> Callback:
    """A callback for `on_success_callback`: calls `notify` where dbt warned, and only there.

    The warnings are the context's `exception`, so that one notifier serves failures and warnings.
    """

    def notify_of_warnings(context: Mapping[str, Any]) -> None:
        if warnings := context["ti"].xcom_pull(key=WARNINGS):
            notify({**context, "exception": redact(warnings)})

    return notify_of_warnings
