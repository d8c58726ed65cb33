"""A dbt project whose models note when they begin and end, and whether they are alone.

Each model holds an advisory lock of Postgres as long as its session lives. A second session that
builds the same model cannot take it, so the database itself says if a task runs beside its own
retry. The note of the beginning is there at once; that of the end is committed with the table.
"""

from __future__ import annotations

from pathlib import Path

from dev.tests.scheduled.installation import write_project

SETUP = (
    "drop schema if exists audit cascade",
    "drop schema if exists built cascade",
    "create schema audit",
    "create table audit.events (model text, try int, worker text, event text, alone boolean,"
    " at timestamptz default clock_timestamp())",
)

FIRST = [f"a{number}" for number in range(1, 5)]
SECOND = [f"b{number}" for number in range(1, 5)]
MODELS = FIRST + SECOND

_PROJECT = """
name: tiny
profile: tiny
flags: {send_anonymous_usage_stats: false}
models:
  +materialized: table
  +pre-hook: {sql: "{{ note('begin') }}; commit; begin", transaction: false}
  +post-hook: "{{ note('end') }}"
"""
_NOTE = """
{% macro note(event) %}
  insert into audit.events (model, try, worker, event, alone) values (
    '{{ this.name }}', {{ env_var('AIRFLOW_CTX_TRY_NUMBER', '0') }},
    '{{ env_var('DBT_WARM_DIR', '').split('/')[-1] }}', '{{ event }}',
    pg_try_advisory_lock(hashtext('{{ this.name }}')))
{% endmacro %}
"""
_SLOW = "select 1 as id, pg_sleep({seconds})::text as slept"
_TESTED = "models: [{{name: {0}, columns: [{{name: id, data_tests: [not_null]}}]}}]"


def write(folder: Path, models: list[str] = MODELS) -> Path:
    """The project in `folder`, with these of its models."""
    files = {"dbt_project.yml": _PROJECT, "macros/note.sql": _NOTE}
    for name in set(FIRST) & set(models):
        files[f"models/{name}.sql"] = _SLOW.format(seconds=4)
    for name in set(SECOND) & set(models):
        above = f"{{{{ ref('{name.replace('b', 'a')}') }}}}"
        files[f"models/{name}.sql"] = f"{_SLOW.format(seconds=1)} from {above}"
    files["models/a1.yml"] = _TESTED.format("a1")
    return write_project(folder, "built", files)
