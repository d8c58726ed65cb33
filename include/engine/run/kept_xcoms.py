"""The XCom of each task of a run, also as a file, where all tasks have the folder DBT_RUNS.

Airflow hands out XComs one by one, each by a request to its API server. The last task of a run
needs all of them, and so do on-run-end hooks: they read the files, and ask Airflow for what has
none. Where each machine has a folder of its own there are no files: one that an earlier try has
left on another machine could not be told from the newest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk.configuration import conf

from include.engine.run import executors
from include.engine.settings import Settings

FOLDER = ".xcoms"


def pull(config: Settings, ti: Any, task_ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """By task id, what these tasks of the run of `ti` returned, without those that returned
    nothing.
    """
    folder = run_folder(config, ti.dag_id, ti.run_id)
    kept = {task_id: read(folder, task_id) for task_id in task_ids}
    asked = [task_id for task_id, xcom in kept.items() if not xcom]
    if asked:
        kept.update(zip(asked, ti.xcom_pull(task_ids=asked, map_indexes=-1), strict=True))
    return {task_id: xcom for task_id, xcom in kept.items() if xcom}


def keep(config: Settings, ti: Any, xcom: Mapping[str, Any] | None) -> None:
    """Writes what the task of `ti` returns. Airflow has it, too: a full disk is no error.

    A try that goes on though Airflow has started a later one writes nothing: a frozen worker's.
    Airflow gives each try a UUID of version 7, which tells when it was made. The numbers of tries
    begin anew if a run is deleted and another one has its id.
    """
    folder = run_folder(config, ti.dag_id, ti.run_id)
    if folder and str(ti.id) >= written(folder, ti.task_id).get("try", ""):
        file = folder / file_name(ti.task_id)
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file.with_suffix(".new").write_text(json.dumps({"try": str(ti.id), "xcom": xcom}))
            file.with_suffix(".new").replace(file)


def forget(config: Settings, ti: Any) -> None:
    """Removes what an earlier try of the task has kept, as Airflow does when a task starts."""
    keep(config, ti, None)


def remove_old(config: Settings, dag_id: str) -> None:
    """Removes the files of all runs of the DAG but those that ended last (DBT_RUNS_KEPT)."""
    folder = run_folder(config, dag_id, "")
    if folder and folder.parent.is_dir():
        runs = sorted(folder.parent.iterdir(), key=lambda run: run.stat().st_mtime)
        for run in runs[: -max(config.runs_kept, 1)]:
            shutil.rmtree(run, ignore_errors=True)


def read(folder: Path | None, task_id: str) -> Any:
    """What the task has kept in the folder of its run; None if that is nothing."""
    return written(folder, task_id).get("xcom") if folder else None


def written(folder: Path, task_id: str) -> Mapping[str, Any]:
    """The id of the last try of the task, and what it returned; {} if there is no such file."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / file_name(task_id)).read_bytes())
    return {}


def run_folder(config: Settings, dag_id: str, run_id: str) -> Path | None:
    """The folder for the files of a run, which may not exist yet; None where none are kept."""
    runs = config.runs_folder
    elsewhere = executors.run_elsewhere(conf.get("core", "executor"))
    if "://" in runs or (elsewhere and not config.runs_shared):
        return None
    return Path(runs, FOLDER, file_name(dag_id), file_name(run_id))


def file_name(text: str) -> str:
    """A name of fixed length: ids of Airflow may be longer than a file's name, and hold a slash."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
