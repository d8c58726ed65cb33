"""A session with Postgres that was closed as new is the next one that the same command opens.

dbt begins with a session of which it only wants to know whether it can be opened, and then opens
others. Each costs client and server 15 ms of CPU (SCRAM), and more with TLS.
"""

import contextlib
import re
import time

import psycopg2
from psycopg2.extensions import connection, cursor

CONNECT = psycopg2.connect
AT_ONCE = 1.0  # seconds; one that waits for longer may have been ended by somebody
KEPT: list["Session"] = []  # one at most
# With these a session is as it was. The third is dbt's own (postgres__list_schemas), behind the
# comment that it puts before each query.
NOTHING = re.compile(
    r"BEGIN|COMMIT|(?:/\*(?:(?!\*/).)*\*/)?\s*select distinct nspname from pg_namespace\s*"
)


class Session(connection):
    """A connection of psycopg2 that was opened with `options`; `new` while there was nothing in it
    that leaves a trace.
    """

    options: object = None
    new = True
    closed_at = 0.0

    def cursor(self, *arguments, **options) -> cursor:
        self.new = self.new and not arguments and not options
        return super().cursor(*arguments, **options)

    def close(self) -> None:
        if self.new and self.options and not self.closed and not KEPT:
            with contextlib.suppress(psycopg2.Error):  # the server has ended it
                self.rollback()
                self.closed_at = time.monotonic()
                KEPT.append(self)
                return
        super().close()


class Cursor(cursor):
    """Takes note of what may leave a trace in its session."""

    def execute(self, query, vars=None):
        if vars or not isinstance(query, str) or not NOTHING.fullmatch(query):
            self.connection.new = False
        return super().execute(query, vars)

    def __getattribute__(self, name: str):
        if name in ("callproc", "executemany") or name.startswith("copy_"):
            super().__getattribute__("connection").new = False
        return super().__getattribute__(name)


def connect(dsn=None, connection_factory=None, cursor_factory=None, **options) -> connection:
    """psycopg2.connect."""
    if dsn or connection_factory or cursor_factory:
        return CONNECT(dsn, connection_factory, cursor_factory, **options)
    kept = KEPT.pop() if KEPT else None
    if kept and kept.options == options and time.monotonic() - kept.closed_at < AT_ONCE:
        return kept
    if kept:
        connection.close(kept)
    session = CONNECT(connection_factory=Session, cursor_factory=Cursor, **options)
    session.options = options
    return session


def install() -> None:
    psycopg2.connect = connect


def after_command() -> None:
    """Close the one that is kept."""
    while KEPT:
        connection.close(KEPT.pop())
