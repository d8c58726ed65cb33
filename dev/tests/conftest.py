from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from dev.tests import sample
from include.engine.run import params

EMPTY = {name: param.value for name, param in params.run_params(()).items()}
"""The params of a run that nobody has entered anything for."""


@pytest.fixture(scope="session", autouse=True)
def sample_environment() -> Iterator[None]:
    """What lies in include/dbt and dags/ is the user's: these tests have a project of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sample.environment().items():
            patch.setenv(name, value)
        # The options of a `make` that runs these tests are not those of one that they run.
        for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def dagbag(sample_environment) -> DagBag:
    """The DAG folder of these tests, read as Airflow's dag processor reads it."""
    return DagBag(str(sample.DAGS))


@pytest.fixture(scope="session")
def dag(dagbag):
    assert dagbag.import_errors == {}
    return dagbag.dags["dbt_dag"]


def parsed() -> DAG:
    """`dbt_dag` as its file says that it is now."""
    bag = DagBag(str(sample.DAGS))
    assert bag.import_errors == {}
    return bag.dags["dbt_dag"]


def with_arguments(patch: pytest.MonkeyPatch, **arguments: object) -> None:
    """Gives the DAG file of these tests arguments: `schedule`, `default_args`."""
    patch.setenv("DAG_ARGUMENTS", json.dumps(arguments))


@pytest.fixture
def errors_with(monkeypatch, tmp_path) -> Callable[..., list[str]]:
    """The import errors of the DAG folder when `variables` are set."""

    def read(**variables: str | os.PathLike) -> list[str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        return list(DagBag(str(sample.DAGS)).import_errors.values())

    return read


def serialized(dag) -> str:
    """The DAG as Airflow stores it, less the places on this machine that Airflow adds itself."""
    from airflow.serialization.serialized_objects import DagSerialization

    data = DagSerialization.to_dict(dag)
    for place in ("fileloc", "_processor_dags_folder", "relative_fileloc"):
        data["dag"].pop(place, None)
    return json.dumps(data, sort_keys=True)


@contextmanager
def in_task_process(task_id: str, dag_id: str = "dbt_dag") -> Iterator[None]:
    """DAG files are read as the process of that task reads them."""
    # Airflow's own context manager does not take its variables back where there were none before.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", task_id)
        yield


@dataclass
class Instance:
    """A task instance that keeps its XComs, in a run whose other tasks have these states, and these
    results for theirs.
    """

    task_id: str = "model.jaffle_shop.orders"
    run_id: str = "r"
    states: dict[str, str] = field(default_factory=dict)
    results: dict[str, dict] = field(default_factory=dict)
    xcoms: dict[str, object] = field(default_factory=dict)
    dag_id: ClassVar[str] = "dbt_dag"
    id: ClassVar[str] = "01a22273-9cd7-715b-9a3f-af36c77e3486"
    log_url: ClassVar[str] = "http://localhost:8080/dags/dbt_dag"

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict:
        return {run_ids[0]: self.states | {"run_results": None, self.task_id: "running"}}

    def xcom_push(self, key: str, value: object) -> None:
        self.xcoms[key] = value

    def xcom_pull(
        self,
        key: str = "",
        task_ids: list[str] = (),
        map_indexes: int = 0,
        include_prior_dates: bool = False,
    ):
        if key:
            return self.xcoms.get(key)
        # -1 stands for a task that is not mapped.
        return [self.results.get(task_id) for task_id in task_ids if map_indexes == -1]


def record(*found: dict) -> dict:
    """The XCom of a task of which dbt said this."""
    metadata = {"generated_at": "2026-01-01T00:00:00Z"}
    return {"artifact": "run_results", "metadata": metadata, "results": list(found)}


STAND_IN = r"""#!/bin/sh
mkdir -p "$DBT_TARGET_PATH" "$DBT_LOG_PATH"
cd "$HERE"
case "$1" in ls) cat listed; exit "$(cat code)";; esac
printf '%s\0' $DBT_HOOKS "$@" > ran
[ ! -e "$DBT_HOOKS_OF" ] || cp "$DBT_HOOKS_OF" told
[ ! -e run_results.json ] || cp run_results.json "$DBT_TARGET_PATH"
[ ! -e dbt.log ] || cp dbt.log "$DBT_LOG_PATH"
exit "$(cat code)"
"""


@pytest.fixture
def dbt(tmp_path, monkeypatch) -> Path:
    """The folder of a stand-in for dbt, `bin/dbt`, whose warehouse is a connection.

    It lists `listed`, leaves this folder's `run_results.json` and `dbt.log`, and ends with `code`;
    `ran` is what it was asked for, `told` what hooks are told.
    """
    program = tmp_path / "bin" / "dbt"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    (tmp_path / "code").write_text("0")
    monkeypatch.setenv("DBT_EXECUTABLE", str(program))
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://u:hunter2-secret@h:5432/d")
    return tmp_path


GRAPH = Path(__file__).parent / "dag" / "sample_graph.txt"
