"""Which variables of libpq a person's shell may hold while the local Airflow runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests.postgres import run_postgres
from scripts.local.environment import HARMFUL_TO_POSTGRES

# https://www.postgresql.org/docs/current/libpq-envars.html, each with a value that does harm if any
# does. PGDATESTYLE is psycopg2's own business, and Airflow's times have their zone.
KEPT = {
    "PGAPPNAME": "x",
    "PGCONNECT_TIMEOUT": "9",
    "PGDATABASE": "no",
    "PGDATESTYLE": "German",
    "PGGEQO": "off",
    "PGGSSDELEGATION": "1",
    "PGGSSLIB": "gssapi",
    "PGHOST": "nowhere.invalid",
    "PGKRBSRVNAME": "x",
    "PGLOADBALANCEHOSTS": "random",
    "PGLOCALEDIR": "/no",
    "PGPASSFILE": "/no",
    "PGPASSWORD": "no",
    "PGPORT": "1",
    "PGREQUIRESSL": "1",
    "PGSERVICEFILE": "/no",
    "PGSSLCERT": "/no",
    "PGSSLCOMPRESSION": "1",
    "PGSSLCRL": "/no",
    "PGSSLKEY": "/no",
    "PGSSLMAXPROTOCOLVERSION": "TLSv1.3",
    "PGSSLMINPROTOCOLVERSION": "TLSv1.3",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/no",
    "PGSSLSNI": "0",
    "PGSYSCONFDIR": "/no",
    "PGTZ": "Asia/Tokyo",
    "PGUSER": "no",
}
DROPPED = {
    "PGCHANNELBINDING": "require",
    "PGCLIENTENCODING": "LATIN1",
    "PGGSSENCMODE": "require",
    "PGHOSTADDR": "127.0.0.1",
    "PGOPTIONS": "-c search_path=other",
    "PGREQUIREAUTH": "md5",
    "PGREQUIREPEER": "other",
    "PGSERVICE": "other",
    "PGSSLCERTMODE": "require",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "standby",
}
SESSION = """
import sys, psycopg2
names = {"user": "postgres", "password": "x", "dbname": "postgres", "connect_timeout": 5}
cursor = psycopg2.connect(host=sys.argv[1], port=5432, **names).cursor()
cursor.execute("select current_setting('search_path'), current_setting('client_encoding')")
print(*cursor.fetchone())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with run_postgres() as folder:
        yield folder


def session(server: Path, variables: dict[str, str]) -> str:
    """What a session is like that is opened with these variables; "" if it cannot be opened."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, server],
        env=others | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_variables_of_libpq_that_are_kept_do_no_harm(server):
    assert session(server, KEPT) == session(server, {}) == '"$user", public UTF8\n'


@pytest.mark.parametrize("name", sorted(HARMFUL_TO_POSTGRES))
def test_each_variable_of_libpq_that_is_dropped_does_harm(server, name):
    assert session(server, {name: DROPPED[name]}) != session(server, {})
