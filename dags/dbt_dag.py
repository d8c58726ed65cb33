"""dbt on Airflow: a task runs each dbt model, and a task tests it. This file is yours: edit it.

One DAG for each schedule of the dbt project: `dbt_dag`, and `dbt_dag__<name>` for what has another
schedule in dbt's YAML. docs/dag-file.md shows what people change here, each in a line.
"""

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import DAG

# A Git bundle has a folder for each version: the engine of a version is the one beside this file.
root = Path(__file__).resolve().parents[1]
imported = map(Path, getattr(sys.modules.get("include"), "__path__", ()))
if (root / "include/engine").is_dir() and root / "include" not in [p.resolve() for p in imported]:
    sys.path.insert(0, str(root))
    for name in [name for name in sys.modules if name.split(".")[0] == "include"]:
        del sys.modules[name]

from include.engine.dag.build import dbt_dags  # noqa: E402

for dbt in dbt_dags(schedule="@daily"):
    dag = DAG(
        dag_id=dbt.dag_id,
        schedule=dbt.schedule,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=dbt.is_paused_upon_creation,
        tags=["dbt", *dbt.tags],
        doc_md=dbt.doc_md,
        default_args={
            "owner": "dbt",
            "retries": 2,
            "retry_delay": timedelta(minutes=1),
            "retry_exponential_backoff": 2,
            "max_retry_delay": timedelta(hours=1),
            "pool": "default_pool",
            "on_failure_callback": None,  # any of Airflow's notifiers
        },
    )
    globals()[dag.dag_id] = dag
    tasks = dbt.add_tasks(dag)  # a task of your own: mine >> tasks.first, or tasks.last >> mine
