"""A consumer: runs when all that the dbt exposure `report` reads was refreshed and tested."""

from __future__ import annotations

import psycopg2
from airflow.sdk import Asset, Connection, dag, task


@dag(schedule=[Asset("exposure.tiny.report")])
def report():
    @task
    def read() -> int:
        at = Connection.get("warehouse")
        connection = psycopg2.connect(
            host=at.host, user=at.login, password=at.password, dbname=at.schema
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("select total from pipeline.revenue")
            (total,) = cursor.fetchone()
        connection.close()
        return int(total)

    read()


report()
