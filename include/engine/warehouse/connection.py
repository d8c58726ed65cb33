"""An Airflow connection as a plain record, so that nothing here needs Airflow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

# Fields of an extra for which adapters take a number. In a connection's URI every value is text.
_NUMBERS = re.compile(r"(timeout|retries|port|seconds|threads|keepalives_idle|attempts)$")


class Connection(NamedTuple):
    """The fields of an Airflow connection; an empty text or None where it has none.

    What `schema` means depends on the type: in a Postgres connection it is the database.
    """

    conn_type: str
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = ""
    schema: str = ""
    extra: Mapping[str, Any] = {}


def from_fields(fields: Mapping[str, Any]) -> Connection:
    """The connection of these fields, which are named as in Airflow's JSON of a connection.

    `extra` is a mapping or JSON. Raises ValueError if it is other text.
    """
    extra = fields.get("extra") or {}
    if isinstance(extra, str):
        extra = json.loads(extra)
    conn_type = str(fields.get("conn_type") or "")
    # Airflow 2 wrote the fields of its forms so.
    prefix = f"extra__{conn_type}__"
    port = fields.get("port")
    return Connection(
        conn_type=conn_type.replace("-", "_").replace("postgresql", "postgres"),
        port=int(port) if port else None,
        extra={name.removeprefix(prefix): _typed(name, value) for name, value in extra.items()},
        **{name: str(fields.get(name) or "") for name in ("host", "login", "password", "schema")},
    )


def from_environment(connection_id: str, environ: Mapping[str, str]) -> Connection | None:
    """The connection that the environment defines under that id, None if there is none.

    Raises ValueError if the variable holds neither JSON nor a URI.
    """
    text = environ.get(f"AIRFLOW_CONN_{connection_id.upper()}", "").strip()
    if not text:
        return None
    return from_fields(json.loads(text) if text.startswith("{") else _uri_fields(text))


def _uri_fields(uri: str) -> dict[str, Any]:
    """What Airflow reads out of a connection's URI. Its host may have a scheme of its own:
    `trino://https://user@host:443/schema`.
    """
    conn_type, _, rest = uri.partition("://")
    protocol, _, rest = rest.rpartition("://")
    parts = urlsplit(f"//{rest}")
    host = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])  # `hostname` loses capitals
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return {
        "conn_type": conn_type,
        "host": f"{protocol}://{host}" if protocol else host,
        "port": parts.port,
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "schema": unquote(parts.path.removeprefix("/")),
        "extra": query.get("__extra__") or query,
    }


def _typed(name: str, value: Any) -> Any:
    """The value of an extra's field, which a URI has as text only."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, str) and value.isdecimal() and _NUMBERS.search(name):
        return int(value)
    return value
