"""A loader: copies orders into the warehouse, and says so with the asset of the dbt source."""

from __future__ import annotations

import psycopg2
from airflow.sdk import Asset, Connection, Param, dag, task

STATEMENTS = """
create schema if not exists raw;
drop table if exists raw.orders cascade;
create table raw.orders as
    select number as id, %(amount)s as amount, now() - %(age)s::interval as _loaded_at
    from generate_series(1, 3) as number;
create table if not exists raw.shops as select 1 as id;
"""


@dag(schedule=None, params={"amount": 10, "age": Param("0 hours", type="string")})
def loader():
    @task(outlets=[Asset("source.tiny.raw.orders")])
    def load(params: dict | None = None) -> None:
        at = Connection.get("warehouse")
        connection = psycopg2.connect(
            host=at.host, user=at.login, password=at.password, dbname=at.schema
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(STATEMENTS, dict(params))
        connection.close()

    load()


loader()
