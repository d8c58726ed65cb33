"""Whatever a manifest holds, Airflow takes the DAG, and a person sees the names as they are."""

from __future__ import annotations

from dev.tests.shapes.projects import MODEL, yaml

OWNERS = [f"team {number:03} of the department for long names" for number in range(100)]
LONG_TABLE = "x" * 1600
MINUTES = ",".join(map(str, range(60)))

SOURCES = {
    "sources": [
        {
            "name": "erp",
            "tables": [
                {"name": "Kundenaufträge"},
                {"name": "http://[x"},
                {"name": LONG_TABLE},
            ],
        }
    ]
}
EXPOSURE = {
    "exposures": [
        {
            "name": "board",
            "label": "Umsatz\0übersicht",
            "type": "dashboard",
            "owner": {"name": "Jürgen\0"},
            "depends_on": ["ref('日本語名モデル')"],
        }
    ]
}


def model(**airflow: str) -> str:
    """A model with these keys under `meta.airflow`."""
    return f"{{{{ config(meta={{'airflow': {airflow}}}) }}}}\n{MODEL}"


FILES = {
    "models/日本語名モデル.sql": MODEL,
    "models/sum(net).sql": MODEL,
    "models/reads.sql": "select * from {{ source('erp', 'Kundenaufträge') }}",
    "models/reads_too.sql": "select * from {{ source('erp', 'http://[x') }}",
    "models/reads_long.sql": f"select * from {{{{ source('erp', '{LONG_TABLE}') }}}}",
    "models/named.sql": model(asset="Aufträge"),
    "models/often.sql": model(schedule=f"{MINUTES} * * * * Europe/Berlin"),
    "models/_sources.yml": yaml(SOURCES),
    "models/_exposures.yml": yaml(EXPOSURE),
    **{f"models/owned_{n}.sql": model(owner=owner) for n, owner in enumerate(OWNERS)},
}


def test_airflows_database_takes_what_the_manifest_holds(odd, take_in):
    taken = take_in(odd)
    assert (taken["import_errors"], taken["errors"]) == ({}, [])
    owners = {dag_id: owners.split(", ") for dag_id, owners in taken["dags"].items()}
    base, often = sorted(owners, key=len)
    assert often.startswith("dbt_dag__0and1and2and3") and len(often) == len("dbt_dag__") + 100
    assert sorted(owners[base]) == sorted(["Jürgen", "dbt", *OWNERS[: len(owners[base]) - 2]])
    assert 1700 < len(taken["dags"][base]) < 2000
    renamed = {name: uri for name, uri in taken["assets"].items() if name != uri}
    assert renamed == {
        "Aufträge": "Auftr%C3%A4ge",
        "model.shapes.日本語名モデル": "model.shapes.%E6%97%A5%E6%9C%AC%E8%AA%9E%E5%90%8D%E3%83%A2"
        "%E3%83%87%E3%83%AB",
        "source.shapes.erp.Kundenaufträge": "source.shapes.erp.Kundenauftr%C3%A4ge",
        "source.shapes.erp.http://[x": "source.shapes.erp.http%3A//[x",
    }
    assert max(map(len, taken["assets"])) == 1500
    shown = {task_id: name for _, task_id, name in taken["tasks"] if task_id != name}
    assert shown == {"model.shapes.sum_net_.b2e58522": "model.shapes.sum(net)"}
