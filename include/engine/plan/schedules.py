"""The DAG of a node by dbt's YAML: its schedule and its name; and the asset of a node.

Read from `meta.airflow`: `schedule` and `dag` of nodes that are built and of exposures, `asset` of
these and of sources.
"""

from __future__ import annotations

import re

from include.engine.manifest.records import Node
from include.engine.plan import meta
from include.engine.plan.duration import parse_duration
from include.engine.plan.records import ALONE, BASE, Asset, DagRequest, Schedule

PRESETS = frozenset(("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly"))
WORDS = (
    "a cron text, a preset such as @daily, a duration such as PT6H, `assets`, `any asset`, a time "
    "and assets as in `@daily or assets`, or `none`"
)
_ASSETS = {"assets": "all", "any asset": "any"}
_CRON = re.compile(r"[\w*/,#?-]+( [\w*/,#?-]+){4}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SPELLED = {"*": "x", "/": "by", ",": "and", "-": "to", "#": "nth", "?": "x", "@": "", " ": "_"}


def parse_schedule(text: object) -> Schedule | None:
    """The schedule that `text` stands for (see WORDS); None if it stands for none."""
    parts = text.strip().split(" or ") if isinstance(text, str) else ["", "", ""]
    assets = _ASSETS.get(parts[-1], "")
    times = parts[:-1] if assets else parts
    if times == ["none"] or (assets and not times):
        return Schedule(assets=assets)
    if len(times) == 1 and (_is_time(times[0]) or (times[0] in ALONE and not assets)):
        return Schedule(times[0], assets)
    return None


def _is_time(text: str) -> bool:
    seconds = parse_duration(text) if text.startswith("P") else None
    return text in PRESETS or bool(_CRON.fullmatch(text) or seconds)


def dag_suffix(text: str) -> str:
    """The end of a DAG's id by its schedule: readable, and the same each time."""
    return "".join(_SPELLED.get(letter, letter) for letter in text.strip())


def dag_request(node: Node, default: Schedule) -> DagRequest:
    """The DAG that `node` asks for: the base DAG unless its YAML says otherwise.

    Raises ManifestError, naming the node, its file and what is allowed.
    """
    requested_by = f"{node.unique_id} ({node.path})"
    text, name = (node.airflow.get(key) for key in ("schedule", "dag"))
    schedule = None if text is None else parse_schedule(text)
    if text is not None and schedule is None:
        raise meta.wrong_value(node, "meta.airflow.schedule", text, WORDS)
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise meta.wrong_value(node, "meta.airflow.dag", name, "letters, digits, `_` and `-`")
    if name is None and schedule in (None, default):
        return DagRequest(BASE, None, requested_by)
    return DagRequest(f"{BASE}__{name or dag_suffix(str(text))}", schedule, requested_by)


def node_asset(node: Node) -> Asset | None:
    """The asset of `node`, named by its unique id unless its YAML has a name, or a name and a URI.

    None for a source with `asset: false`.

    Raises ManifestError, naming the node, its file and what is allowed.
    """
    asset = node.airflow.get("asset", node.unique_id)
    if asset is False and node.resource_type == "source":
        return None
    if isinstance(asset, str) and asset:
        return Asset(node.unique_id, asset, asset)
    if isinstance(asset, dict) and sorted(asset) == ["name", "uri"] and all(asset.values()):
        return Asset(node.unique_id, str(asset["name"]), str(asset["uri"]))
    words = "a name, a mapping of `name` and `uri`, or (of a source) false"
    raise meta.wrong_value(node, "meta.airflow.asset", asset, words)
