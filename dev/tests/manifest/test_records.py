import json

import pytest

from include.engine.manifest.records import (
    Manifest,
    ManifestError,
    Node,
    load_manifest,
    parse_manifest,
)

V12 = "https://schemas.getdbt.com/dbt/manifest/v12.json"


def raw(**sections) -> dict:
    return {"metadata": {"dbt_schema_version": V12, "project_name": "shop"}, **sections}


def member(unique_id: str, **fields) -> dict:
    resource_type, package, name = unique_id.split(".")[:3]
    return {
        "unique_id": unique_id,
        "resource_type": resource_type,
        "package_name": package,
        "name": name,
        "fqn": [package, name],
        "original_file_path": f"models/{name}.sql",
        **fields,
    }


def by_id(*members: dict) -> dict:
    return {m["unique_id"]: m for m in members}


def test_nodes_are_read_from_every_section_in_the_order_of_their_ids():
    """Members of the graph come as records with parents that the manifest has, sorted."""
    found = parse_manifest(
        raw(
            nodes=by_id(
                member(
                    "model.shop.b",
                    config={"materialized": "view"},
                    depends_on={"nodes": ["source.shop.raw.t", "model.shop.a", "model.gone.x"]},
                ),
                member("model.shop.a", config={"materialized": "table"}, version=2),
            ),
            sources=by_id(
                member(
                    "source.shop.raw.t",
                    fqn=["shop", "raw", "t"],
                    freshness={"warn_after": {"count": 1, "period": "day"}, "error_after": {}},
                )
            ),
        )
    )
    assert found == Manifest(
        project="shop",
        nodes={
            "model.shop.a": Node(
                "model.shop.a",
                "model",
                "a",
                "shop",
                ("shop", "a"),
                "models/a.sql",
                materialized="table",
                versioned=True,
            ),
            "model.shop.b": Node(
                "model.shop.b",
                "model",
                "b",
                "shop",
                ("shop", "b"),
                "models/b.sql",
                parents=("model.shop.a", "source.shop.raw.t"),
                materialized="view",
            ),
            "source.shop.raw.t": Node(
                "source.shop.raw.t",
                "source",
                "raw",
                "shop",
                ("shop", "raw", "t"),
                "models/raw.sql",
                has_freshness=True,
            ),
        },
        selected=None,
    )
    assert list(found.nodes) == ["model.shop.a", "model.shop.b", "source.shop.raw.t"]


def test_disabled_nodes_are_not_read():
    found = parse_manifest(raw(nodes=by_id(member("model.shop.a", config={"enabled": False}))))
    assert dict(found.nodes) == {}


def test_a_freshness_rule_without_a_count_is_none():
    """dbt writes empty thresholds for sources that have no freshness rule."""
    rule = {"warn_after": {"count": None, "period": None}, "error_after": None, "filter": None}
    source = member("source.shop.raw.t", fqn=["shop", "raw", "t"], freshness=rule)
    assert (
        parse_manifest(raw(sources=by_id(source))).nodes["source.shop.raw.t"].has_freshness is False
    )


def test_unknown_resource_types_and_fields_are_left_alone_with_a_warning(caplog):
    """A newer dbt may write more than is known here: it is ignored, with one warning."""
    robot = member("robot.shop.r", arms=2)
    found = parse_manifest(raw(nodes=by_id(robot), robots={"x": 1}))
    assert list(found.nodes) == ["robot.shop.r"]
    assert caplog.messages == ["The manifest has resource types that get no tasks: ['robot']"]


def test_the_selection_travels_with_the_manifest():
    assert parse_manifest(raw(selected=["model.shop.a"])).selected == frozenset({"model.shop.a"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No manifest at {path}. Build it with: make manifest"),
        ("", "The manifest at {path} is not JSON (Expecting value: line 1 column 1 (char 0))."),
        ('{"metadata": {', "The manifest at {path} is not JSON (Expecting property name"),
        ("[]", "{path} is not a dbt manifest: it has no dbt_schema_version."),
        ("{}", "{path} is not a dbt manifest: it has no dbt_schema_version."),
        (
            json.dumps({"metadata": {"dbt_schema_version": V12.replace("v12", "v7")}}),
            "{path} is a manifest of version v7; this project reads v12 (dbt 1.8 to 1.12).",
        ),
        (
            json.dumps(raw(nodes={"model.shop.a": {"unique_id": "model.shop.a"}})),
            "{path} is damaged: KeyError('resource_type').",
        ),
    ],
    ids=["missing", "empty", "truncated", "a list", "no version", "old version", "no fields"],
)
def test_a_bad_manifest_is_named_with_the_command_that_mends_it(tmp_path, text, message):
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestError) as error:
        load_manifest(path)
    assert str(error.value).startswith(message.format(path=path))
    assert "make manifest" in str(error.value)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        load_manifest(tmp_path)
