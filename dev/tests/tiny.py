"""Hand-made manifests, as small as the fact that a test is about."""

from __future__ import annotations

from collections.abc import Iterable

from include.engine.manifest.records import Manifest, Node


def node(unique_id: str, *parents: str, **fields) -> Node:
    """A node as dbt would write it: what is not given follows from the unique id."""
    resource_type, package, name, *rest = unique_id.split(".")
    versioned = resource_type == "model" and bool(rest)
    defaults = {
        "name": name,
        "fqn": (package, name, *(rest if versioned or resource_type == "source" else ())),
        "path": f"{resource_type}s/{name}.sql",
        "materialized": "table" if resource_type == "model" else "",
        "versioned": versioned,
    }
    return Node(
        unique_id=unique_id,
        resource_type=resource_type,
        package=package,
        parents=tuple(sorted(parents)),
        **(defaults | fields),
    )


def manifest(*nodes: Node, selected: Iterable[str] | None = None) -> Manifest:
    """A manifest of `nodes` for the project `shop`."""
    return Manifest(
        project="shop",
        nodes={n.unique_id: n for n in sorted(nodes, key=lambda n: n.unique_id)},
        selected=None if selected is None else frozenset(selected),
    )
