"""What dbt's YAML says of a node's DAG: its schedule, its name, and the asset that a node is.

Read from `meta.airflow`: `schedule` and `dag` of what is built, and of exposures; `asset` of all
that is refreshed, sources included.
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
    """The schedule that `text` stands for (see WORDS), None for what is none."""
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
    """What a DAG is called by its schedule: readable, and the same each time."""
    return "".join(_SPELLED.get(letter, letter) for letter in text.strip())


def dag_request(node: Node, default: Schedule) -> DagRequest:
    """The DAG that `node` asks for: the base DAG unless its YAML says otherwise.

    Raises ManifestError, naming the node, its file and what is allowed.
    """
    requested_by = f"{node.unique_id} ({node.path})"
    given, named = (node.airflow.get(key) for key in ("schedule", "dag"))
    schedule = None if given is None else parse_schedule(given)
    if given is not None and schedule is None:
        raise meta.wrong_value(node, "meta.airflow.schedule", given, WORDS)
    if named is not None and not (isinstance(named, str) and _NAME.fullmatch(named)):
        raise meta.wrong_value(node, "meta.airflow.dag", named, "letters, digits, `_` and `-`")
    if named is None and schedule in (None, default):
        return DagRequest(BASE, None, requested_by)
    return DagRequest(f"{BASE}__{named or dag_suffix(str(given))}", schedule, requested_by)


def node_asset(node: Node) -> Asset | None:
    """The asset that `node` is: named by its unique id unless its YAML has a name, or a name and a
    URI; None for a source of which the YAML says that it is none.

    Raises ManifestError, naming the node, its file and what is allowed.
    """
    given = node.airflow.get("asset", node.unique_id)
    if given is False and node.resource_type == "source":
        return None
    if isinstance(given, str) and given:
        return Asset(node.unique_id, given, given)
    if isinstance(given, dict) and sorted(given) == ["name", "uri"] and all(given.values()):
        return Asset(node.unique_id, str(given["name"]), str(given["uri"]))
    words = "a name, a mapping of `name` and `uri`, or (of a source) false"
    raise meta.wrong_value(node, "meta.airflow.asset", given, words)
