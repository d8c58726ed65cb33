"""The Airflow DAG that Cosmos makes of the manifest, in the mode that BENCH_COSMOS names."""

import os
from datetime import datetime, timezone

# Cosmos imports these while it builds a DAG: here they are seen as the imports that they are.
import airflow.providers.common.io.assets.file  # noqa: F401
import cosmos.listeners.dag_run_listener
import cosmos.plugin.airflow3
import cosmos.profiles  # noqa: F401
from cosmos import DbtDag, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

from include.engine import settings

config = settings.load()
dag = DbtDag(
    dag_id="dbt_dag__cosmos",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    project_config=ProjectConfig(
        dbt_project_path=config.project_dir, manifest_path=config.manifest, project_name="gen"
    ),
    profile_config=ProfileConfig(
        profile_name="gen",
        target_name="dev",
        profiles_yml_filepath=config.profiles_dir / "profiles.yml",
    ),
    execution_config=ExecutionConfig(
        execution_mode=ExecutionMode[os.environ["BENCH_COSMOS"].upper()],
        invocation_mode=InvocationMode.SUBPROCESS,
        dbt_executable_path=str(config.dbt_executable),
    ),
    render_config=RenderConfig(
        load_method=LoadMode.DBT_MANIFEST, test_behavior=TestBehavior.AFTER_EACH
    ),
    operator_args={
        "install_deps": False,
        "env": {
            "WAREHOUSE_HOST": "{{ conn.warehouse.host }}",
            "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": "{{ conn.warehouse.password }}",
        },
        "append_env": True,
    },
)
