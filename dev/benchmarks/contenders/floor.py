"""Airflow's own floor: a DAG of the plan's shape whose every command is `true`."""

from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from include.engine import settings
from include.engine.plan import cache
from include.engine.plan.tasks import Options

(dag,) = cache.load_plan(settings.load().manifest, Options())
with DAG("dbt_dag__floor", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    operators = {task.id: BashOperator(task_id=task.id, bash_command="true") for task in dag.tasks}
    for task in dag.tasks:
        operators[task.id].set_upstream([operators[name] for name in task.upstream])
