"""An auth manager for tests: Airflow's simple one, with users who may not read all of a DAG."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

READER, STRANGER, WITHOUT_RUNS = "reader", "stranger", "without_runs"

CLOSED = {STRANGER: DagAccessEntity.CODE, WITHOUT_RUNS: DagAccessEntity.RUN}
"""What a user may not read."""


class Guarded(SimpleAuthManager):
    def is_authorized_dag(self, *, method, user, access_entity=None, details=None) -> bool:
        if access_entity and CLOSED.get(user.username) is access_entity:
            return False
        return super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
