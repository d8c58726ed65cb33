"""The DAG of a node by dbt's YAML: its schedule and its name; and the asset of a node.

Read from `meta.airflow`: `schedule` and `dag` of nodes that are built and of exposures, `asset` of
these and of sources.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from include.engine.manifest.records import Node, storable
from include.engine.plan import meta, names
from include.engine.plan.duration import parse_duration
from include.engine.plan.records import ALONE, BASE, Asset, DagRequest, Schedule

PRESETS = frozenset(("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly"))
WORDS = (
    "a cron text, a preset such as @daily, each with a time zone as in `0 6 * * * Europe/Berlin`, "
    "a duration such as PT6H, `assets`, `any asset`, a time and assets as in `@daily or assets`, "
    "or `none`"
)
_ASSETS = {"assets": "all", "any asset": "any"}
_CRON = re.compile(r"[\w*/,#?-]+( [\w*/,#?-]+){4}")
_CRON_LENGTH = 200  # Airflow stores the description of a cron text in 1,000 characters
_TIMEZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_SUFFIX_LENGTH = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SPELLED = {
    "*": "x",
    "/": "by",
    ",": "and",
    "-": "to",
    "#": "nth",
    "?": "x",
    "@": "",
    " ": "_",
    "+": "plus",
}


def parse_schedule(text: object) -> Schedule | None:
    """The schedule that `text` stands for (see WORDS); None if it stands for none."""
    parts = text.strip().split(" or ") if isinstance(text, str) else ["", "", ""]
    assets = _ASSETS.get(parts[-1], "")
    times = parts[:-1] if assets else parts
    if times == ["none"] or (assets and not times):
        return Schedule(assets=assets)
    if len(times) != 1:
        return None
    if _is_time(times[0]) or (times[0] in ALONE and not assets):
        return Schedule(times[0], assets)
    time, _, timezone = times[0].rpartition(" ")
    if _is_time(time) and not time.startswith("P") and _is_timezone(timezone):
        return Schedule(time, assets, "" if timezone == "UTC" else timezone)
    return None


def _is_time(text: str) -> bool:
    seconds = parse_duration(text) if text.startswith("P") else None
    cron = len(text) <= _CRON_LENGTH and _CRON.fullmatch(text)
    return text in PRESETS or bool(cron or seconds)


def _is_timezone(name: str) -> bool:
    """Whether it is a name of the IANA database, as Airflow takes it."""
    try:
        return bool(_TIMEZONE.fullmatch(name) and ZoneInfo(name))
    except (ZoneInfoNotFoundError, OSError):
        return False


def dag_suffix(text: str) -> str:
    """The end of a DAG's id by its schedule: readable, and the same each time."""
    text = re.sub("(?<=[A-Za-z])/(?=[A-Za-z])", "_", text.strip())  # of a time zone
    spelled = "".join(_SPELLED.get(letter, letter) for letter in text)
    return names.shorten(spelled, _SUFFIX_LENGTH)


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
    asset = node.airflow.get("asset")
    if asset is None:
        name = names.shorten(storable(node.unique_id), names.ASSET_LENGTH)
        return Asset(node.unique_id, name, names.uri_of_name(node.unique_id))
    if asset is False and node.resource_type == "source":
        return None
    both = asset if isinstance(asset, dict) else {"name": asset, "uri": asset}
    if sorted(both) == ["name", "uri"] and _is_asset_name(both["name"]) and _is_uri(both["uri"]):
        return Asset(node.unique_id, both["name"], names.ascii_uri(both["uri"]))
    words = (
        f"a name of at most {names.ASSET_LENGTH} characters, a mapping of `name` and `uri`, or (of "
        "a source) false"
    )
    raise meta.wrong_value(node, "meta.airflow.asset", asset, words)


def _is_asset_name(text: object) -> bool:
    """Whether Airflow takes the text as the name of an asset."""
    valid = isinstance(text, str) and bool(text.strip()) and len(text) <= names.ASSET_LENGTH
    return valid and text not in ("self", "context")


def _is_uri(text: object) -> bool:
    """Whether Airflow takes the text, in ASCII, as the URI of an asset."""
    if not _is_asset_name(text):
        return False
    try:
        scheme = urlsplit(uri := names.ascii_uri(text)).scheme
    except ValueError:
        return False
    return scheme.lower() != "airflow" and len(uri) <= names.ASSET_LENGTH
