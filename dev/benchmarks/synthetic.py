"""Manifests of any size, shaped as grown projects are: layers, a few parents each, many tests."""

from __future__ import annotations

import random

from include.engine.manifest.records import SCHEMA_VERSIONS

LAYERS = 10


def manifest(models: int, tests: int, seed: int = 1) -> dict:
    """A decoded manifest.json with `models` models in ten layers and `tests` data tests.

    A model has one to three parents, mostly of the layer below; one test in eight is a relationship
    to another model, which is what makes a test belong to no single node.
    """
    rng = random.Random(seed)
    ids = [f"model.big.m{number:05d}" for number in range(models)]
    layer = max(1, models // LAYERS)
    nodes = {}
    for number, unique_id in enumerate(ids):
        below = ids[max(0, number - 2 * layer) : max(0, number - number % layer)]
        parents = rng.sample(below, min(len(below), rng.randint(1, 3)))
        nodes[unique_id] = _member(unique_id, parents, materialized="table")
    for number in range(tests):
        parents = rng.sample(ids, 2 if number % 8 == 0 and models > 1 else 1)
        name = f"not_null_{number:05d}"
        nodes[f"test.big.{name}.0"] = _member(f"test.big.{name}.0", parents, materialized="test")
    version = f"https://schemas.getdbt.com/dbt/manifest/{SCHEMA_VERSIONS[-1]}.json"
    return {"metadata": {"dbt_schema_version": version, "project_name": "big"}, "nodes": nodes}


def _member(unique_id: str, parents: list[str], materialized: str) -> dict:
    resource_type, package, name = unique_id.split(".")[:3]
    return {
        "unique_id": unique_id,
        "resource_type": resource_type,
        "package_name": package,
        "name": name,
        "fqn": [package, f"folder_{hash_of(name) % 20}", name],
        "original_file_path": f"models/{name}.sql",
        "depends_on": {"macros": [], "nodes": parents},
        "config": {"enabled": True, "materialized": materialized},
    }


def hash_of(name: str) -> int:
    """The same number for a name on every machine, unlike `hash`."""
    return int.from_bytes(name.encode(), "big")
