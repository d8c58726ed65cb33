{#-
    Takes the place of dbt-postgres' own. In an empty warehouse the seeds start together, each in a dbt
    of its own, and each creates their schema; `if not exists` does not help, Postgres lets one of them
    through and gives the others "duplicate key value violates unique constraint". The lock makes them
    take turns. It is held until the end of the transaction; its number means nothing.
-#}
{% macro postgres__create_schema(relation) -%}
    {%- call statement('create_schema') -%}
        select pg_advisory_xact_lock(2025);
        create schema if not exists {{ relation.without_identifier().include(database=False) }}
    {%- endcall -%}
{%- endmacro %}
