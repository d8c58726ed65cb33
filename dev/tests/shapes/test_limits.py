"""Whatever a manifest holds, Airflow takes the DAG, and a person sees the names as they are."""

from __future__ import annotations

import json
from itertools import pairwise

from dev.tests.shapes.projects import MODEL, yaml
from include.engine.plan import names

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


DEEP = [letter * 54 for letter in "abcde"]
FILES = {
    "models/Finance Reports (old)/q1.sql": MODEL,
    "models/a/b/inner.sql": MODEL,
    "models/a__b/joined.sql": MODEL,
    "models/run_results/kept.sql": MODEL,
    "models/on_run_start/early.sql": MODEL,
    "models/日本語/deep_japanese.sql": MODEL,
    f"models/{'/'.join(DEEP)}/deep.sql": MODEL,
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
    assert 300 < len(taken["dags"][base]) < 500
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


def test_each_folder_is_a_group_with_its_whole_name(odd, read):
    bag = read(odd)
    assert bag.import_errors == {}
    groups = bag.dags["dbt_dag"].task_group.get_task_group_dict().values()
    labels = {group.label: sorted(group.children) for group in groups if group.group_id}
    in_deep = {folder: [inner] for folder, inner in pairwise(DEEP)}
    assert {label: children for label, children in labels.items() if label not in in_deep} == {
        "Finance Reports (old)": ["model.shapes.q1"],
        "a": ["a__b"],
        "b": ["model.shapes.inner"],
        "a__b": ["model.shapes.joined"],
        "run_results": ["model.shapes.kept"],
        "on_run_start": ["model.shapes.early"],
        "日本語": ["model.shapes.deep_japanese"],
        "exposures": ["exposure.shapes.board"],
        DEEP[-1]: ["model.shapes.deep"],
    }
    assert in_deep.keys() <= labels.keys()
    assert len(groups) == len({group.group_id for group in groups}) == 1 + 13
    assert "run_results" in bag.dags["dbt_dag"].task_ids


def test_the_tasks_of_our_own_are_those_that_no_group_is_called_like(
    odd, read, monkeypatch, tmp_path
):
    """Ids of dbt's nodes have a dot, and ids of groups have none."""
    monkeypatch.setenv("DBT_DOCS_CATALOG", "/tmp/catalog.json")
    raw = json.loads(odd.read_bytes())
    for kind in ("start", "end"):
        unique_id = f"operation.shapes.shapes-on-run-{kind}-0"
        raw["nodes"][unique_id] = raw["nodes"]["model.shapes.q1"] | {
            "unique_id": unique_id,
            "resource_type": "operation",
        }
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    hooked, plain = (
        read(path).dags["dbt_dag"].task_ids for path in (tmp_path / "manifest.json", odd)
    )
    without_dot = {task_id for task_id in (*hooked, *plain) if "." not in task_id}
    assert without_dot == names.OUR_TASK_IDS
