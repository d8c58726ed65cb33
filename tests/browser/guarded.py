"""An auth manager for tests: Airflow's simple one, with a user who may not read code of DAGs."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

READER, STRANGER = "reader", "stranger"


class Guarded(SimpleAuthManager):
    def is_authorized_dag(self, *, method, user, access_entity=None, details=None) -> bool:
        if user.username == STRANGER and access_entity is DagAccessEntity.CODE:
            return False
        return super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
