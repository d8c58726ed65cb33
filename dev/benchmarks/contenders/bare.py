"""Airflow's own floor for a DAG file: as many operators as this project makes, with no argument but
those that are required, no edge and no group.
"""

import os
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("dbt_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    for number in range(int(os.environ["BENCH_TASKS"])):
        BashOperator(task_id=f"t{number}", bash_command="true")
