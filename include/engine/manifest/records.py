"""dbt's manifest.json as typed, frozen records.

Only what the plan needs is read. Other fields, and unknown resource types, are ignored.
Format: https://schemas.getdbt.com/dbt/manifest/v12 (dbt 1.8 to 1.12 and the v2 engine).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from include.engine.manifest.hooks import sharing_packages

log = logging.getLogger(__name__)

SCHEMA_VERSIONS = ("v12",)
"""The manifest versions that can be read."""

MEND = "Build it with: make manifest (in an Astro project: rebuild the image)"

# The sections of a manifest whose members are in dbt's graph (dbt-core: Linker.link_graph).
_SECTIONS = (
    "nodes",
    "sources",
    "exposures",
    "functions",
    "metrics",
    "saved_queries",
    "semantic_models",
    "unit_tests",
)
_KNOWN_TYPES = frozenset(
    (
        *("analysis", "exposure", "function", "metric", "model", "operation", "saved_query"),
        *("seed", "semantic_model", "snapshot", "source", "sql_operation", "test", "unit_test"),
    )
)


class ManifestError(ValueError):
    """The manifest is missing or cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Node:
    """One member of dbt's graph.

    - `fqn`: starts with the package and ends with the name (and the version of a versioned model)
    - `path`: its file, relative to the folder of the package
    - `parents`: the unique ids of its parents that are in the manifest, sorted
    - `airflow`: the keys under `meta.airflow` (plan/meta.py)
    - `owner`: the name or address of the owner of its group, or of the exposure
    - `label`, `url`: of an exposure
    - `attached`: the node that a generic test was written for
    """

    unique_id: str
    resource_type: str
    name: str
    package: str
    fqn: tuple[str, ...]
    path: str
    parents: tuple[str, ...] = ()
    materialized: str = ""
    versioned: bool = False
    has_freshness: bool = False
    has_exports: bool = False
    airflow: Mapping[str, object] = field(default_factory=dict)
    owner: str | None = None
    microbatch: bool = False
    label: str = ""
    url: str = ""
    attached: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A whole manifest.

    - `project`: the name of the root package
    - `nodes`: by unique id, in the order of the ids
    - `selected`: the unique ids in the selection made at build time; None without one
    - `sharing`: the packages with hooks that share memory with nodes (manifest/hooks.py)
    """

    project: str
    nodes: Mapping[str, Node]
    selected: frozenset[str] | None = None
    sharing: frozenset[str] = frozenset()


def load_manifest(path: Path) -> Manifest:
    """The manifest in the file at `path`.

    Raises ManifestError, naming the file and what to do, if there is no file, if it is not JSON, or
    if its version is unknown here.
    """
    return parse_manifest(read_manifest(path), str(path))


def read_manifest(path: Path) -> object:
    """The decoded JSON in the file at `path`. Raises ManifestError as `load_manifest` does."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ManifestError(f"No manifest at {path}. {MEND}") from None
    except OSError as error:
        raise ManifestError(f"The manifest at {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(f"The manifest at {path} is not JSON ({error}). {MEND}") from error


def parse_manifest(raw: object, origin: str = "<memory>") -> Manifest:
    """The manifest in `raw`, decoded JSON that errors call `origin`. Raises ManifestError."""
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or "dbt_schema_version" not in metadata:
        raise ManifestError(f"{origin} is not a dbt manifest: it has no dbt_schema_version. {MEND}")
    version = str(metadata["dbt_schema_version"]).rpartition("/")[2].removesuffix(".json")
    if version not in SCHEMA_VERSIONS:
        raise ManifestError(
            f"{origin} is a manifest of version {version}; this project reads "
            f"{', '.join(SCHEMA_VERSIONS)} (dbt 1.8 to 1.12). {MEND}"
        )
    try:
        nodes = _nodes(raw)
        sharing = sharing_packages(raw)
    except (AttributeError, KeyError, TypeError) as error:
        raise ManifestError(f"{origin} is damaged: {error!r}. {MEND}") from error
    selected = raw.get("selected")
    return Manifest(
        project=metadata.get("project_name") or "",
        nodes=MappingProxyType(nodes),
        selected=None if selected is None else frozenset(selected),
        sharing=sharing,
    )


def _nodes(raw: dict) -> dict[str, Node]:
    members = {member["unique_id"]: member for member in _members(raw)}
    unknown = {m["resource_type"] for m in members.values()} - _KNOWN_TYPES
    if unknown:
        log.warning("The manifest has resource types that get no tasks: %s", sorted(unknown))
    owners = {group["name"]: _owner(group) for group in (raw.get("groups") or {}).values()}
    return {key: _node(members[key], members, owners) for key in sorted(members)}


def _members(raw: dict) -> Iterator[dict]:
    """Every enabled member of the graph, in the manifest's order."""
    for section in _SECTIONS:
        for member in (raw.get(section) or {}).values():
            if (member.get("config") or {}).get("enabled") is not False:
                yield member


def storable(value: Any) -> Any:
    """`value`, of JSON, without what a database cannot store: NUL, and half of a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, dict):
        return {storable(key): storable(one) for key, one in value.items()}
    return [storable(one) for one in value] if isinstance(value, list) else value


def _owner(group: dict) -> str | None:
    owner = group.get("owner") or {}
    name = owner.get("name") or owner.get("email")
    return None if name is None else storable(str(name))


def _airflow(member: dict, config: dict) -> Mapping[str, object]:
    """Raises ManifestError for anything but a mapping."""
    airflow = (config.get("meta") or {}).get("airflow")
    if airflow is None:
        airflow = (member.get("meta") or {}).get("airflow") or {}
    if not isinstance(airflow, dict):
        raise ManifestError(
            f"{member['unique_id']} ({member.get('original_file_path')}): "
            f"meta.airflow is {airflow!r}; it takes a mapping."
        )
    return storable(airflow)


def _node(member: dict, members: Mapping[str, dict], owners: Mapping[str, str | None]) -> Node:
    config = member.get("config") or {}
    depends_on = (member.get("depends_on") or {}).get("nodes") or ()
    return Node(
        unique_id=member["unique_id"],
        resource_type=member["resource_type"],
        name=member["name"],
        package=member["package_name"],
        fqn=tuple(member["fqn"]),
        path=member.get("original_file_path") or "",
        parents=tuple(sorted(members.keys() & set(depends_on))),
        materialized=config.get("materialized") or "",
        versioned=member.get("version") is not None,
        has_freshness=_has_freshness(member.get("freshness") or config.get("freshness")),
        has_exports=bool(member.get("exports")),
        airflow=_airflow(member, config),
        owner=owners.get(config.get("group") or member.get("group")) or _owner(member),
        microbatch=(config.get("materialized"), config.get("incremental_strategy"))
        == ("incremental", "microbatch"),
        label=storable(member.get("label") or ""),
        url=storable(member.get("url") or ""),
        attached=member.get("attached_node"),
    )


def _has_freshness(rule: object) -> bool:
    """Whether dbt would check the source: a rule counts if it has a number
    (dbt-core: FreshnessThreshold.__bool__).
    """
    limits = rule if isinstance(rule, dict) else {}
    counts = [(limits.get(key) or {}).get("count") for key in ("warn_after", "error_after")]
    return counts != [None, None]
