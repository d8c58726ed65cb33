"""The DAG file of the engine's tests: the template's, with arguments out of DAG_ARGUMENTS, which is
JSON such as {"schedule": "@hourly", "default_args": {"retries": 0}, "mail": {"to": "a@b.c"}}, where
durations are in seconds and `mail` has arguments of Airflow's SmtpNotifier.
"""

import json
import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from include.engine.dag.build import dbt_dags

arguments = json.loads(os.environ.get("DAG_ARGUMENTS") or "{}")
default_args = {"retry_delay": 60, **arguments.get("default_args", {})}

if "mail" in arguments:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    from include.engine.run.alerts import on_warning

    alert = SmtpNotifier(
        subject="{{ ti.dag_id }}: {{ ti.task_id }}",
        html_content="<pre>{{ exception | e }}</pre><a href='{{ ti.log_url }}'>The task</a>",
        **arguments["mail"],
    )
    default_args |= {"on_failure_callback": alert, "on_success_callback": on_warning(alert)}

for dbt in dbt_dags(schedule=arguments.get("schedule", "@daily")):
    dag = DAG(
        dag_id=dbt.dag_id,
        schedule=dbt.schedule,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        max_active_tasks=arguments.get("max_active_tasks", 16),
        is_paused_upon_creation=dbt.is_paused_upon_creation,
        tags=["dbt", *dbt.tags],
        doc_md=dbt.doc_md,
        default_args={
            "owner": "dbt",
            "retries": 2,
            "retry_exponential_backoff": 2,
            "max_retry_delay": timedelta(hours=1),
            "pool": "default_pool",
            **default_args,
            "retry_delay": timedelta(seconds=default_args["retry_delay"]),
        },
    )
    globals()[dag.dag_id] = dag
    tasks = dbt.add_tasks(dag)
