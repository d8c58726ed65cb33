"""What Airflow makes of the DAG folder, in a metadata database of its own.

    python -m dev.tests.shapes.take_in DAGS_FOLDER

Creates Airflow's tables, reads the DAG files, and saves what is in them as the DAG processor does.
Then it starts a run of each DAG as the scheduler does. Prints what the database holds, as JSON.
AIRFLOW__DATABASE__SQL_ALCHEMY_CONN names the database, which has to be empty.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.asset import AssetModel
from airflow.models.dag import DagModel
from airflow.models.errors import ParseImportError
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

BUNDLE = "dags-folder"


def main(folder: Path) -> None:
    initdb()
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    bag = BundleDagBag(str(folder), bundle_path=folder, bundle_name=BUNDLE)
    with create_session() as session:
        sync_bag_to_db(bag, BUNDLE, None, session=session)
    with create_session() as session:
        for dag_id in bag.dags:
            start_run(dag_id, session)
    with create_session() as session:
        print(json.dumps(found(session) | {"import_errors": bag.import_errors}))


def start_run(dag_id: str, session) -> None:
    SerializedDagModel.get_dag(dag_id, session=session).create_dagrun(
        run_id="manual",
        run_after=datetime.now(timezone.utc),
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        session=session,
    )


def found(session) -> dict:
    tasks = select(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.task_display_name)
    return {
        "dags": {dag.dag_id: dag.owners for dag in session.scalars(select(DagModel))},
        "errors": list(session.scalars(select(ParseImportError.stacktrace))),
        "assets": {asset.name: asset.uri for asset in session.scalars(select(AssetModel))},
        "tasks": sorted(tuple(row) for row in session.execute(tasks)),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
