"""Whether Airflow runs tasks on other machines than this one, and what these then have to share."""

from __future__ import annotations

import re

from include.engine import settings

TAG = "results not shared"

# https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/executor/index.html
LOCAL = frozenset(("LocalExecutor", "SequentialExecutor"))


def run_elsewhere(executors: str) -> list[str]:
    """Of Airflow's setting `[core] executor`, the names that run tasks on other machines.

    The setting lists names or import paths, with an alias or a team's name before them.
    """
    return [name for name in re.findall(r"\w*Executor\b", executors) if name not in LOCAL]


def unshared_results(config: settings.Settings, executors: str) -> str:
    """Markdown that says why the results of a run get lost, and what to do; empty if they do not.

    `executors` is Airflow's setting `[core] executor`.
    """
    elsewhere = run_elsewhere(executors)
    if not elsewhere or config.runs_shared or _is_address(config.runs_folder):
        return ""
    return (
        "\n**Each machine keeps the results of runs to itself.** "
        f"{', '.join(elsewhere)} runs tasks on several machines, and `DBT_RUNS` is a folder on a "
        "local disk. Set `DBT_RUNS` to an object store, such as `s3://bucket/dbt`. If the folder "
        "is a disk that all machines share, set `DBT_RUNS_SHARED=true`.\n"
    )


def _is_address(folder: str) -> bool:
    """Whether it is in an object store; `file://` is a local disk."""
    return "://" in folder and not folder.startswith("file:")
