"""Whether another try of a failed command can succeed, by the words of dbt and of the database.

A wrong answer costs little on one side and much on the other: what is unknown is tried again.
"""

from __future__ import annotations

import re

# Plain texts, joined and compiled at the first failure. Classes of SQLSTATE are those of
# https://www.postgresql.org/docs/current/errcodes-appendix.html, which other databases share.
_MAY_HEAL = (
    r"deadlock detected|could not serialize access",  # 40
    r"too many (?:clients|connections)|remaining connection slots|out of (?:shared )?memory",  # 53
    r"terminating connection|canceling statement|(?:starting|shutting) (?:up|down)",  # 57
    r"[Cc]onnection (?:refused|reset|timed out)|server closed the connection",  # 08
    r"Temporary failure in name resolution|No space left on device",
)
_PERMANENT_CLASSES = r"(?:22|28|3D|42)[0-9A-Z]{3}"  # data, login, database, and SQL with rights
_PERMANENT = (
    # Snowflake, then Databricks and Spark, then ODBC write the SQLSTATE itself.
    rf"\b\d{{6}} \({_PERMANENT_CLASSES}\)",
    rf"SQLSTATE[:=]? ?\(?{_PERMANENT_CLASSES}",
    rf"\[{_PERMANENT_CLASSES}\] \[",
    # Postgres and Redshift: 28, 3D and rights of 42.
    r"password authentication failed|no password supplied|no pg_hba\.conf entry",
    r'role "[^"]*" (?:does not exist|is not permitted to log in)',
    r'database "[^"]*" does not exist',
    r"permission denied (?:for|to)|must be owner of",
    # Postgres and Redshift: SQL of 42.
    r"syntax error at (?:or near|end of input)",
    r'(?:column|relation|type) (?:"[^"]*"|\S+\.\S+)(?: of relation "[^"]*")? does not exist',
    r"(?:function|operator|aggregate) .* does not exist|operator does not exist",
    r"is ambiguous$|must appear in the GROUP BY clause|cannot (?:be )?cast ",
    # Postgres and Redshift: data, 22.
    r"division by zero|invalid input syntax for|value too long for type|out of range",
    # Snowflake, BigQuery, DuckDB and Trino in their own words.
    r"Incorrect username or password|Access Denied: ",
    r"Syntax error: |Unrecognized name: |No matching signature for |Not found: (?:Table|Dataset)",
    r"(?:Parser|Binder|Catalog|Conversion) Error: ",
    r"type=USER_ERROR",
    # dbt itself: the project, the profile and the command line.
    r"^(?:\S+ )?(?:Compilation|Parsing) Error",
    r"Could not find profile named|does not have a target named|Credentials in profile",
    r"Env var required but not provided|Could not find adapter type|No dbt_project\.yml found",
    r"This version of dbt is not supported|Could not find selector named",
    r"^Error: (?:No such|Invalid value|Got unexpected|Missing|Option)",
)


def is_permanent(message: str) -> bool:
    """Whether the same would fail again: wrong SQL, data, login, rights, project or command."""
    if re.search("|".join(_MAY_HEAL), message):
        return False
    return bool(re.search("|".join(_PERMANENT), message, re.M))
