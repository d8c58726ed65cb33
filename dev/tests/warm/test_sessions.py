"""The sessions with Postgres that a command opens."""

from __future__ import annotations

import io

import psycopg2
import pytest

from include.engine.warm import postgres_sessions

from .conftest import eventually


@pytest.mark.parametrize(
    ("argv", "quiet", "debugged"),
    [
        (("run", "--select", "one"), 1, 2),
        (("test", "--select", "not_null_one_id"), 1, 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_fewer_are_opened(warm, shop, query, argv, quiet, debugged):
    """By a task whose hooks have tasks of their own; dbt's log of the last one is wanted or not."""
    env = {"DBT_HOOKS": "none", "DBT_POPULATE_CACHE": "false", "DBT_LOG_LEVEL_FILE": "error"}
    warm.run(shop, "run", "--select", "one", **env)

    def opened() -> int:
        return query("select sessions from pg_stat_database where datname = 'postgres'")[0][0]

    before = opened()
    assert warm.run(shop, *argv, **env).code == 0
    assert eventually(lambda: opened() == before + quiet), opened() - before
    assert warm.run(shop, *argv, **env, DBT_DEBUG="true").code == 0
    assert eventually(lambda: opened() == before + quiet + debugged), opened() - before


def test_what_a_hook_sets_is_not_there_for_a_model(warm, project, query):
    """Warm as cold: a session that was used is not used again."""
    text = (project / "dbt_project.yml").read_text().partition("on-run-start")[0]
    (project / "dbt_project.yml").write_text(
        f"""{text}
on-run-start: >
  set search_path to nowhere; select set_config('shop.word', 'left', false)
on-run-end: >
  insert into public.left_over
  select coalesce(current_setting('shop.word', true), 'null'), current_setting('search_path')
"""
    )
    (project / "models/session.sql").write_text(
        "select coalesce(current_setting('shop.word', true), 'null') as word,"
        " current_setting('search_path') as path"
    )
    query("drop table if exists public.left_over; create table public.left_over (w text, p text)")
    found = []
    for given in ({}, {}, {"DBT_WARM": "false"}):
        result = warm.run(project, "run", "--select", "session", **given)
        assert result.code == 0, result.text
        found += query("select * from shop.session")
    assert found == [("null", '"$user", public')] * 3
    assert query("select * from public.left_over") == found


@pytest.fixture
def session(postgres):
    """Opens one; tells it, and the process that serves it."""

    def open_(**options):
        made = postgres_sessions.connect(host=str(postgres), user="postgres", **options)
        return made, made.get_backend_pid()

    yield open_
    while postgres_sessions.KEPT:
        postgres_sessions.connection.close(postgres_sessions.KEPT.pop())


def test_one_that_nothing_was_changed_in_is_used_again(session):
    first, pid = session()
    with first.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("COMMIT")
        cursor.execute("/* {} */\n    select distinct nspname from pg_namespace\n  ")
    first.close()
    again, same = session()
    assert (again is first, same, again.closed) == (True, pid, 0)
    assert again.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    again.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda cursor: cursor.execute("select 1"),
        lambda cursor: cursor.execute(
            "/* */ set work_mem = '1MB'; /* */ select distinct nspname from pg_namespace"
        ),
        lambda cursor: cursor.execute("begin; set search_path to nowhere"),
        lambda cursor: cursor.executemany("select %s", [(1,)]),
        lambda cursor: cursor.callproc("now"),
        lambda cursor: cursor.copy_expert("copy (select 1) to stdout", io.StringIO()),
    ],
)
def test_used_one_is_closed(session, use):
    first, pid = session()
    with first.cursor() as cursor:
        use(cursor)
    first.close()
    assert first.closed
    another, other = session()
    assert other != pid
    another.close()


def test_only_at_once_and_for_the_same(session, monkeypatch):
    """As whom and how it was opened must be the same; what waited may have been ended."""
    first, pid = session()
    first.close()
    another, other = session(application_name="shop")
    assert (other != pid, first.closed != 0) == (True, True)
    another.close()
    monkeypatch.setattr(postgres_sessions, "AT_ONCE", 0.0)
    third, later = session(application_name="shop")
    assert (later not in (pid, other), another.closed != 0) == (True, True)
    third.close()


@pytest.mark.parametrize("noticed", [True, False])
def test_broken_one_is_not_kept(session, query, noticed):
    first, pid = session()
    with first.cursor() as cursor:
        cursor.execute("BEGIN")
        query(f"select pg_terminate_backend({pid})")
        if noticed:
            with pytest.raises(psycopg2.Error):
                cursor.execute("COMMIT")
    first.close()
    assert (postgres_sessions.KEPT, first.closed != 0) == ([], True)
