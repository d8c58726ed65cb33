"""For each type of Airflow connection: dbt's adapter, and what its profile takes from where.

A function returns the fields of one output of a profile. Fields of the connection's extra that have
the adapter's own name are listed; others are translated. The field `dbt` of the extra is a mapping
of whatever else the adapter takes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from include.engine.warehouse.connection import Connection

Fields = dict[str, Any]


class UnknownType(ValueError):
    """There is no adapter for a type of connection; the message names those that there are."""


def adapter_of(conn_type: str) -> str:
    """The adapter's name, as in `type:` of a profile. Raises UnknownType."""
    for name, adapter in ADAPTERS.items():
        if conn_type in adapter.conn_types:
            return name
    known = ", ".join(sorted(kind for a in ADAPTERS.values() for kind in a.conn_types))
    raise UnknownType(f"no dbt adapter is known for the connection type {conn_type!r} ({known})")


def output_fields(connection: Connection) -> Fields:
    """One output of a profile, its `type` first. Raises UnknownType."""
    name = adapter_of(connection.conn_type)
    fields = {"type": name, **ADAPTERS[name].fields(connection), **connection.extra.get("dbt", {})}
    return {key: value for key, value in fields.items() if value not in (None, {}, ())}


def google_credentials(connection: Connection) -> dict[str, str]:
    """The environment variable by which Google's libraries find a workload's identity file."""
    file = connection.extra.get("credential_config_file")
    if connection.conn_type not in ADAPTERS["bigquery"].conn_types or not file:
        return {}
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}


def stand_in(adapter: str) -> Connection:
    """A connection to nowhere, with what the adapter insists on, to read a project without one."""
    given = ADAPTERS[adapter]
    usual = {"host": "localhost", "login": "dbt", "password": "none", "schema": "analytics"}
    return Connection(given.conn_types[0], **{**usual, **given.stand_in})


def _extra(connection: Connection, *names: str, **renamed: str) -> Fields:
    """The extra's fields of these names; in `renamed`, the adapter's name is the key."""
    found = {name: connection.extra.get(name) for name in names}
    return found | {name: connection.extra.get(theirs) for name, theirs in renamed.items()}


def _postgres(connection: Connection) -> Fields:
    return {
        "host": connection.host or "localhost",
        "port": connection.port or 5432,
        "user": connection.login,
        "password": connection.password,
        "database": connection.schema or connection.login,
        **_extra(
            connection,
            *("sslmode", "sslcert", "sslkey", "sslrootcert", "connect_timeout", "role"),
            *("search_path", "keepalives_idle", "application_name", "retries"),
        ),
    }


def _redshift(connection: Connection) -> Fields:
    iam = connection.extra.get("iam")
    return {
        "method": "iam" if iam else "database",
        "host": connection.host,
        "port": connection.port or 5439,
        "user": connection.extra.get("db_user") or connection.login,
        "password": None if iam else connection.password,
        "database": connection.schema or connection.extra.get("database"),
        **_extra(
            connection,
            *("sslmode", "region", "connect_timeout", "role", "ra3_node", "is_serverless"),
            *("serverless_work_group", "serverless_acct_id", "db_groups", "autocreate"),
            cluster_id="cluster_identifier",
            iam_profile="profile",
        ),
    }


def _snowflake(connection: Connection) -> Fields:
    extra = connection.extra
    account = str(extra.get("account") or connection.host.partition(".snowflakecomputing")[0])
    region = extra.get("region")
    return {
        "account": f"{account}.{region}" if region and "." not in account else account,
        "schema": connection.schema,
        **_extra(
            connection,
            *("database", "warehouse", "role", "authenticator", "query_tag", "insecure_mode"),
            *("client_session_keep_alive", "host", "port", "protocol"),
        ),
        **_snowflake_login(connection),
    }


def _snowflake_login(connection: Connection) -> Fields:
    """By key pair, OAuth or password. With a key Airflow's password is that of the key."""
    extra = connection.extra
    key, file = extra.get("private_key_content"), extra.get("private_key_file")
    if key or file:
        return {
            "user": connection.login,
            "private_key": _decoded_key(key) if key else None,
            "private_key_path": None if key else file,
            "private_key_passphrase": connection.password or None,
        }
    if extra.get("authenticator") == "oauth":
        token = extra.get("refresh_token") or extra.get("token")
        client = {"oauth_client_id": connection.login, "oauth_client_secret": connection.password}
        return {"token": token, **(client if extra.get("refresh_token") else {})}
    return {"user": connection.login, "password": connection.password}


def _decoded_key(key: str) -> str:
    """The key in PEM; Airflow also takes it in base64."""
    if "-----BEGIN" in key:
        return key
    try:
        return base64.b64decode(key, validate=True).decode()
    except ValueError:  # DER in base64, which dbt takes as it is
        return key


def _bigquery(connection: Connection) -> Fields:
    extra = connection.extra
    key = extra.get("keyfile_dict") or None
    key = json.loads(key) if isinstance(key, str) else key
    file = extra.get("key_path")
    scopes = [scope.strip() for scope in str(extra.get("scope") or "").split(",") if scope.strip()]
    return {
        "method": "service-account-json" if key else "service-account" if file else "oauth",
        "database": extra.get("project") or (key or {}).get("project_id"),
        "keyfile": None if key else file,
        "keyfile_json": key,
        "schema": extra.get("dataset"),
        "scopes": scopes or None,
        **_extra(
            connection,
            *("location", "priority", "execution_project", "quota_project"),
            *("maximum_bytes_billed", "job_retries", "job_execution_timeout_seconds"),
            impersonate_service_account="impersonation_chain",
        ),
    }


def _databricks(connection: Connection) -> Fields:
    extra = connection.extra
    return {
        "host": connection.host.removeprefix("https://").rstrip("/"),
        "schema": connection.schema or extra.get("schema"),
        "database": extra.get("catalog"),
        **_extra(connection, "http_path", "session_properties", "connect_retries"),
        **_databricks_login(connection),
    }


def _databricks_login(connection: Connection) -> Fields:
    """By a service principal of Databricks or of Azure, or by a token."""
    extra = connection.extra
    login, password = connection.login, connection.password
    if extra.get("service_principal_oauth"):
        return {"auth_type": "oauth", "client_id": login, "client_secret": password}
    if extra.get("azure_tenant_id"):
        return {"auth_type": "oauth", "azure_client_id": login, "azure_client_secret": password}
    return {"token": extra.get("token") or password}


def _duckdb(connection: Connection) -> Fields:
    """A file has one writing process at a time, so each task waits for it and then lets it go."""
    return {
        "path": connection.host or connection.extra.get("path") or connection.schema,
        "keep_open": False,
        "retries": {"connect_attempts": 8},
        **_extra(connection, "extensions", "settings", "attach", "schema"),
        "motherduck_token": connection.extra.get("motherduck_token") or connection.password or None,
    }


def _trino(connection: Connection) -> Fields:
    extra = connection.extra
    scheme, _, host = connection.host.rpartition("://")
    scheme = scheme or extra.get("protocol") or extra.get("http_scheme") or "http"
    return {
        "host": host,
        "port": connection.port or (443 if scheme == "https" else 8080),
        "user": connection.login,
        "schema": connection.schema,
        "database": extra.get("catalog", "hive"),
        "session_properties": extra.get("session_properties"),
        **_extra(connection, "roles", "client_tags", "timezone", cert="verify"),
        **_trino_login(connection, scheme),
    }


def _trino_login(connection: Connection, scheme: str) -> Fields:
    extra = connection.extra
    auth = extra.get("auth")
    if auth == "jwt":
        return {"method": "jwt", "jwt_token": extra.get("jwt__token") or connection.password}
    if auth == "certs":
        return {
            "method": "certificate",
            "client_certificate": extra.get("certs__client_cert_path"),
            "client_private_key": extra.get("certs__client_key_path"),
        }
    if auth == "kerberos":
        return {
            "method": "kerberos",
            "krb5_config": extra.get("kerberos__config"),
            "service_name": extra.get("kerberos__service_name"),
            "principal": extra.get("kerberos__principal"),
            "keytab": extra.get("kerberos__keytab"),
        }
    if connection.password:
        return {"method": "ldap", "password": connection.password}
    return {"method": "none", "http_scheme": scheme}


def _clickhouse(connection: Connection) -> Fields:
    """Its databases are dbt's schemas."""
    secure = bool(connection.extra.get("secure"))
    return {
        "driver": "native" if connection.port in (9000, 9440) else "http",
        "host": connection.host or "localhost",
        "port": connection.port or (8443 if secure else 8123),
        "user": connection.login or "default",
        "password": connection.password,
        "schema": connection.schema,
        "secure": secure,
        **_extra(
            connection,
            *("verify", "cluster", "cluster_mode", "database_engine", "connect_timeout"),
            *("send_receive_timeout", "custom_settings", "client_cert", "client_cert_key"),
        ),
    }


def _athena(connection: Connection) -> Fields:
    """Without a login it uses the identity of the machine, as all of AWS' libraries do."""
    extra = connection.extra
    return {
        "schema": connection.schema,
        "database": extra.get("catalog", "awsdatacatalog"),
        "aws_access_key_id": connection.login or extra.get("aws_access_key_id"),
        "aws_secret_access_key": connection.password or extra.get("aws_secret_access_key"),
        **_extra(
            connection,
            *("region_name", "s3_staging_dir", "s3_data_dir", "s3_data_naming", "work_group"),
            *("aws_session_token", "endpoint_url", "poll_interval"),
            aws_profile_name="profile_name",
            assume_role_arn="role_arn",
        ),
    }


def _sqlserver(connection: Connection) -> Fields:
    extra = connection.extra
    return {
        "driver": extra.get("driver") or extra.get("Driver") or "ODBC Driver 18 for SQL Server",
        "host": connection.host,
        "port": connection.port or 1433,
        "database": connection.schema,
        "user": connection.login or None,
        "password": connection.password or None,
        **_extra(
            connection,
            *("authentication", "encrypt", "trust_cert", "windows_login", "login_timeout"),
            *("query_timeout", "retries", "tenant_id", "client_id", "client_secret"),
        ),
    }


def _spark(connection: Connection) -> Fields:
    """A Thrift server's, or with a token an HTTP endpoint's. Its databases are dbt's schemas."""
    extra = connection.extra
    token = extra.get("token")
    return {
        "method": extra.get("method") or ("http" if token else "thrift"),
        "host": connection.host.rpartition("://")[2],
        "port": connection.port or (443 if token else 10000),
        "user": connection.login or None,
        "password": connection.password or None,
        "schema": connection.schema,
        "token": token,
        **_extra(
            connection,
            *("kerberos_service_name", "use_ssl", "cluster", "endpoint", "organization", "driver"),
            *("connect_timeout", "connect_retries", "server_side_parameters"),
            auth="auth_mechanism",
        ),
    }


class Adapter(NamedTuple):
    """The types of connection that an adapter serves, its profile's fields, the package that
    installs it, and what a connection to nowhere has to have for it.
    """

    conn_types: tuple[str, ...]
    fields: Callable[[Connection], Fields]
    package: str
    stand_in: Mapping[str, Any] = {}


# In these connections the field `schema` is the database.
_DATABASE = {"schema": "warehouse"}

ADAPTERS: Mapping[str, Adapter] = {
    "athena": Adapter(
        ("athena",),
        _athena,
        "dbt-athena",
        {"extra": {"region_name": "us-east-1", "s3_staging_dir": "s3://none/"}},
    ),
    "bigquery": Adapter(
        ("google_cloud_platform", "gcpbigquery", "bigquery"),
        _bigquery,
        "dbt-bigquery",
        {"extra": {"project": "none"}},
    ),
    "clickhouse": Adapter(("clickhouse",), _clickhouse, "dbt-clickhouse"),
    "databricks": Adapter(
        ("databricks",), _databricks, "dbt-databricks", {"extra": {"http_path": "/none"}}
    ),
    "duckdb": Adapter(("duckdb",), _duckdb, "dbt-duckdb", {"host": ":memory:", "schema": ""}),
    "postgres": Adapter(("postgres",), _postgres, "dbt-postgres", _DATABASE),
    "redshift": Adapter(("redshift",), _redshift, "dbt-redshift", _DATABASE),
    "snowflake": Adapter(
        ("snowflake",),
        _snowflake,
        "dbt-snowflake",
        {"extra": {"account": "none", "database": "none"}},
    ),
    "spark": Adapter(("spark", "spark_sql", "hiveserver2"), _spark, "dbt-spark[PyHive]"),
    "sqlserver": Adapter(("mssql",), _sqlserver, "dbt-sqlserver", _DATABASE),
    "trino": Adapter(("trino",), _trino, "dbt-trino"),
}
