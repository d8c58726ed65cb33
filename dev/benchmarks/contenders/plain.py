"""One BashOperator for each dbt command, in a loop over the manifest, as the idea is usually told:
tests are leaves, and all commands share dbt's target folder.
"""

import json
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from include.engine import settings

config = settings.load()
nodes = json.loads(config.manifest.read_bytes())["nodes"]
models = {key: node for key, node in nodes.items() if node["resource_type"] == "model"}
env = {
    "WAREHOUSE_HOST": "{{ conn.warehouse.host }}",
    "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": "{{ conn.warehouse.password }}",
}
with DAG("dbt_dag__plain", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    tasks = {}
    for key, node in models.items():
        for verb in ("run", "test"):
            tasks[verb, key] = BashOperator(
                task_id=f"{verb}.{node['name']}",
                bash_command=f"{config.dbt_executable} {verb} --select {node['name']} < /dev/null",
                env=env,
                append_env=True,
            )
    for key, node in models.items():
        tasks["run", key] >> tasks["test", key]
        for parent in node["depends_on"]["nodes"]:
            tasks["run", parent] >> tasks["run", key]
