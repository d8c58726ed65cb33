"""Airflow and a warehouse on one machine without Docker: `make run`, `up`, `down` and `psql`.

    python -m scripts.local run | up | down | psql

Everything it makes lies under `.airflow/` (`--state` names another folder), apart from the
Postgres socket, whose folder in /tmp has a short name. `verbs` is where to begin reading.
"""
