"""What another try can heal, by the messages of databases and of dbt."""

from __future__ import annotations

import pytest

from include.engine.run import retries

CONNECTION = 'connection to server at "h" (10.0.0.1), port 5432 failed: '
PERMANENT = (
    # Postgres
    f'{CONNECTION}FATAL:  password authentication failed for user "u"',
    f"{CONNECTION}fe_sendauth: no password supplied",
    f'{CONNECTION}FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "u"',
    f'{CONNECTION}FATAL:  role "u" does not exist',
    f'{CONNECTION}FATAL:  database "d" does not exist',
    "Database Error in model a (models/a.sql)\n  permission denied for schema raw",
    'Database Error in model a (models/a.sql)\n  syntax error at or near "form"\n  LINE 9: form b',
    'column "nope" does not exist',
    "column a.nope does not exist",
    'column "nope" of relation "orders" does not exist',
    'relation "raw.orders" does not exist',
    "function nope(integer) does not exist\nHINT:  No function matches the given name",
    "operator does not exist: text = integer",
    'column reference "id" is ambiguous\n  LINE 3: select id',
    'column "a.id" must appear in the GROUP BY clause or be used in an aggregate function',
    "division by zero",
    'invalid input syntax for type integer: "x"',
    "value too long for type character varying(3)",
    "integer out of range",
    # Other databases
    "002003 (42S02): 01b: SQL compilation error:\nObject 'X' does not exist or not authorized.",
    "250001 (08001): Failed to connect: Incorrect username or password was specified.",
    "[TABLE_OR_VIEW_NOT_FOUND] The table cannot be found. SQLSTATE: 42P01",
    "('42S22', \"[42S22] [Microsoft][ODBC Driver 18 for SQL Server]Invalid column name 'a'.\")",
    "Syntax error: Unexpected identifier at [3:1]",
    "Access Denied: Table p:d.t: User does not have permission",
    "Runtime Error in model a (models/a.sql)\n  Catalog Error: Table with name x does not exist!",
    "TrinoUserError(type=USER_ERROR, name=SYNTAX_ERROR)",
    # dbt
    "Compilation Error in model a (models/a.sql)\n  'nope' is undefined",
    "Parsing Error\n  Env var required but not provided: 'X'",
    "Runtime Error\n  The profile 'tiny' does not have a target named 'nope'.",
    "Runtime Error\n  Could not find profile named 'nope'",
    "Error: No such option: --nope",
)
MAY_HEAL = (
    "",
    "error",
    f"{CONNECTION}Connection refused",
    f"{CONNECTION}FATAL:  sorry, too many clients already",
    f"{CONNECTION}FATAL:  the database system is starting up",
    "server closed the connection unexpectedly",
    "terminating connection due to administrator command",
    "canceling statement due to statement timeout",
    "deadlock detected\n  DETAIL:  Process 1 waits for ShareLock",
    "could not serialize access due to concurrent update",
    'duplicate key value violates unique constraint "pg_type_typname_nsp_index"',
    'relation "orders__dbt_tmp" already exists',
    "could not open relation with OID 16442",
    "000603 (XX000): SQL execution internal error",
    "Runtime Error\n  HTTPSConnectionPool(host='h', port=443): Read timed out.",
    "[Errno 28] No space left on device",
    "Quota exceeded: Your project exceeded quota",
    # What the message quotes is not what it says.
    "Database Error\n  deadlock detected\n  LINE 1: division by zero",
)


@pytest.mark.parametrize("message", PERMANENT)
def test_wrong_sql_data_logins_rights_and_projects_fail_again(message):
    assert retries.is_permanent(message)


@pytest.mark.parametrize("message", MAY_HEAL)
def test_what_a_moment_may_heal_and_what_is_unknown_is_tried_again(message):
    assert not retries.is_permanent(message)
