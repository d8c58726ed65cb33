"""Airflow connections, and what the credentials of dbt's adapter have to be for each."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
KEY_JSON = {"type": "service_account", "project_id": "shop", "private_key": KEY}


class Case(NamedTuple):
    """A connection, as Airflow's JSON, and the credentials that it gives, without defaults."""

    adapter: str
    connection: dict[str, Any]
    credentials: dict[str, Any]


def _case(adapter: str, conn_type: str, extra: dict[str, Any], expected: dict, **fields) -> Case:
    connection = {"conn_type": conn_type, "extra": extra, **fields}
    return Case(adapter, connection, {"schema": "analytics", "threads": 4, **expected})


def _snowflake(extra: dict[str, Any], expected: dict[str, Any], **fields: Any) -> Case:
    place = {"account": "ab12", "warehouse": "wh", "database": "shop", "role": "dbt"}
    return _case(
        *("snowflake", "snowflake", place | extra, place | expected), schema="analytics", **fields
    )


def _bigquery(extra: dict[str, Any], expected: dict[str, Any]) -> Case:
    usual = {"database": "shop", "location": "EU"}
    extra = {"project": "shop", "location": "EU", **extra}
    return _case("bigquery", "google_cloud_platform", extra, usual | expected)


LOGIN = {"login": "ada", "password": "hunter2"}
USER = {"user": "ada", "password": "hunter2"}

CASES = {
    "postgres": _case(
        *("postgres", "postgres", {"sslmode": "require", "keepalives_idle": "30"}),
        {**USER, "host": "db", "port": 5433, "database": "shop"}
        | {"sslmode": "require", "keepalives_idle": 30},
        **LOGIN,
        host="db",
        port=5433,
        schema="shop",
    ),
    "postgres, what else the adapter takes": _case(
        *("postgres", "postgres", {"dbt": {"retries": 3, "application_name": "nightly"}}),
        {**USER, "host": "db", "port": 5432, "retries": 3, "application_name": "nightly"},
        **LOGIN,
        host="db",
        schema="shop",
    ),
    "redshift": _case(
        *("redshift", "redshift", {"sslmode": "require", "ra3_node": True}),
        {**USER, "method": "database", "host": "r", "port": 5439, "database": "shop"}
        | {"ra3_node": True},
        **LOGIN,
        host="r",
        schema="shop",
    ),
    "redshift, IAM": _case(
        *("redshift", "redshift"),
        {"iam": True, "cluster_identifier": "c1", "region": "eu-west-1", "db_user": "dbt"},
        {"method": "iam", "cluster_id": "c1", "region": "eu-west-1", "user": "dbt"},
        host="r",
        schema="shop",
    ),
    "snowflake, password": _snowflake({}, USER, **LOGIN),
    "snowflake, region": _snowflake(
        {"region": "eu-west-1"}, {"account": "ab12.eu-west-1"}, **LOGIN
    ),
    "snowflake, key": _snowflake(
        {"private_key_content": base64.b64encode(KEY.encode()).decode()},
        {"user": "ada", "private_key": KEY, "private_key_passphrase": "hunter2"},
        **LOGIN,
    ),
    "snowflake, key file": _snowflake(
        {"private_key_file": "/keys/dbt.p8"},
        {"user": "ada", "private_key_path": "/keys/dbt.p8", "private_key_passphrase": "hunter2"},
        **LOGIN,
    ),
    "snowflake, OAuth": _snowflake(
        {"authenticator": "oauth", "refresh_token": "t0ken"},
        {"authenticator": "oauth", "token": "t0ken"}
        | {"oauth_client_id": "ada", "oauth_client_secret": "hunter2"},
        **LOGIN,
    ),
    "bigquery, key file": _bigquery(
        {"key_path": "/keys/dbt.json"}, {"method": "service-account", "keyfile": "/keys/dbt.json"}
    ),
    "bigquery, key JSON": _bigquery(
        {"keyfile_dict": json.dumps(KEY_JSON), "project": None},
        {"method": "service-account-json", "keyfile_json": KEY_JSON},
    ),
    "bigquery, workload identity": _bigquery(
        {"dataset": "analytics", "impersonation_chain": "dbt@shop"},
        {"method": "oauth", "impersonate_service_account": "dbt@shop"},
    ),
    "bigquery, scopes": _bigquery(
        {"scope": "https://a, https://b"}, {"method": "oauth", "scopes": ["https://a", "https://b"]}
    ),
    "databricks, token": _case(
        *("databricks", "databricks", {"http_path": "/sql/1", "catalog": "shop"}),
        {"host": "d.cloud", "http_path": "/sql/1", "database": "shop", "token": "hunter2"},
        **LOGIN,
        host="https://d.cloud/",
    ),
    "databricks, service principal": _case(
        *("databricks", "databricks", {"http_path": "/sql/1", "service_principal_oauth": True}),
        {"auth_type": "oauth", "client_id": "ada", "client_secret": "hunter2"},
        **LOGIN,
        host="d.cloud",
    ),
    "databricks, Azure": _case(
        *("databricks", "databricks", {"http_path": "/sql/1", "azure_tenant_id": "t"}),
        {"auth_type": "oauth", "azure_client_id": "ada", "azure_client_secret": "hunter2"},
        **LOGIN,
        host="d.cloud",
    ),
    "duckdb": _case(
        *("duckdb", "duckdb", {"extensions": ["httpfs"], "settings": {"memory_limit": "1GB"}}),
        {"path": "/data/shop.duckdb", "database": "shop", "extensions": ["httpfs"]}
        | {"settings": {"memory_limit": "1GB"}, "keep_open": False},
        host="/data/shop.duckdb",
    ),
    "trino": _case(
        *("trino", "trino", {"catalog": "lake"}),
        {"host": "t", "port": 8080, "user": "ada", "database": "lake"},
        host="t",
        login="ada",
        schema="analytics",
    ),
    "trino, LDAP": _case(
        *("trino", "trino", {"catalog": "lake", "verify": "/ca.pem"}),
        {**USER, "host": "t", "port": 443, "cert": "/ca.pem"},
        **LOGIN,
        host="https://t",
        schema="analytics",
    ),
    "trino, JWT": _case(
        *("trino", "trino", {"auth": "jwt", "jwt__token": "t0ken", "protocol": "https"}),
        {"host": "t", "port": 443, "jwt_token": "t0ken"},
        host="t",
        schema="analytics",
    ),
    "trino, certificate": _case(
        *("trino", "trino"),
        {"auth": "certs", "certs__client_cert_path": "/c", "certs__client_key_path": "/k"},
        {"client_certificate": "/c", "client_private_key": "/k"},
        host="https://t",
        schema="analytics",
    ),
    "trino, Kerberos": _case(
        *("trino", "trino", {"auth": "kerberos", "kerberos__principal": "dbt@SHOP"}),
        {"user": "ada", "principal": "dbt@SHOP"},
        host="https://t",
        login="ada",
        schema="analytics",
    ),
    "clickhouse": _case(
        *("clickhouse", "clickhouse", {"secure": True, "verify": False}),
        {**USER, "host": "c", "port": 8443, "driver": "http", "secure": True, "verify": False},
        **LOGIN,
        host="c",
        schema="analytics",
    ),
    "clickhouse, native": _case(
        *("clickhouse", "clickhouse", {}),
        {**USER, "port": 9000, "driver": "native", "secure": False},
        **LOGIN,
        host="c",
        port=9000,
        schema="analytics",
    ),
    "athena": _case(
        *("athena", "athena"),
        {"region_name": "eu-west-1", "s3_staging_dir": "s3://shop/", "work_group": "dbt"},
        {"region_name": "eu-west-1", "s3_staging_dir": "s3://shop/", "work_group": "dbt"}
        | {"aws_access_key_id": "ada", "aws_secret_access_key": "hunter2"}
        | {"database": "awsdatacatalog"},
        **LOGIN,
        schema="analytics",
    ),
    "athena, the machine's own identity": _case(
        *("athena", "athena"),
        {"region_name": "eu-west-1", "s3_staging_dir": "s3://shop/", "role_arn": "arn:1"},
        {"aws_access_key_id": None, "assume_role_arn": "arn:1"},
        schema="analytics",
    ),
    "sqlserver": _case(
        *("sqlserver", "mssql", {"encrypt": True, "trust_cert": True}),
        {"UID": "ada", "PWD": "hunter2", "host": "m", "port": 1433, "database": "shop"}
        | {"encrypt": True, "trust_cert": True, "driver": "ODBC Driver 18 for SQL Server"},
        **LOGIN,
        host="m",
        schema="shop",
    ),
    "spark": _case(
        *("spark", "spark", {"auth_mechanism": "LDAP"}),
        {**USER, "method": "thrift", "host": "s", "port": 10000, "auth": "LDAP"},
        **LOGIN,
        host="spark://s",
        schema="analytics",
    ),
    "spark, HTTP": _case(
        *("spark", "spark", {"token": "t0ken", "cluster": "c1"}),
        {"method": "http", "host": "s", "port": 443, "token": "t0ken", "cluster": "c1"},
        host="s",
        schema="analytics",
    ),
}
