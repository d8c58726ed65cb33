"""The environment variables by which dbt reads the warehouse: WAREHOUSE_* for what everybody may
see, DBT_ENV_SECRET_WAREHOUSE_* for what dbt hides in its logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from include.engine.warehouse.connection import Connection

SECRET = "DBT_ENV_SECRET_"
_SECRET_NAME = re.compile(
    r"(?i)pass|pwd|secret|token|private_key|access_key|keyfile_dict|motherduck"
)
# A field with such a name says where a secret is, not what it is.
_PLACE_OF_SECRET = re.compile(r"(?i)(path|file|uri|url|endpoint|key_id|secret_name)$")


def is_secret(field: str) -> bool:
    """Whether a field of that name holds a secret."""
    return bool(_SECRET_NAME.search(field)) and not _PLACE_OF_SECRET.search(field)


def variable_name(field: str) -> str:
    """The environment variable of a field of the connection or of the profile."""
    name = re.sub(r"\W+", "_", field).upper()
    return f"{SECRET if is_secret(field) else ''}WAREHOUSE_{name}"


def connection_variables(connection: Connection) -> dict[str, str]:
    """What any profile can read of the connection, whatever its type. In a Postgres connection of
    Airflow the field `schema` is the database.
    """
    public = {name: value for name, value in connection.extra.items() if not is_secret(name)}
    return {
        **{variable_name(name): _as_text(value) for name, value in connection.extra.items()},
        "WAREHOUSE_HOST": connection.host,
        "WAREHOUSE_PORT": str(connection.port or ""),
        "WAREHOUSE_USER": connection.login,
        "WAREHOUSE_DATABASE": connection.schema,
        f"{SECRET}WAREHOUSE_PASSWORD": connection.password,
        "WAREHOUSE_EXTRA": json.dumps(public),
    }


def with_variables(value: Any, environment: dict[str, str], field: str) -> Any:
    """The value with an `env_var` in the place of each leaf, whose text goes into `environment`."""
    if isinstance(value, Mapping):
        return {
            key: with_variables(part, environment, f"{field}_{key}") for key, part in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            with_variables(part, environment, f"{field}_{index}")
            for index, part in enumerate(value)
        ]
    name = variable_name(field)
    environment[name] = str(value)
    return f"{{{{ env_var('{name}'){_CONVERT.get(type(value), '')} }}}}"


# dbt's filters that make of a variable, which is text, what the adapter takes.
_CONVERT = {bool: " | as_bool", int: " | as_number", float: " | as_number"}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
