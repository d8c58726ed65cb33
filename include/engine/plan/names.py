"""Names as Airflow and its database take them: ids of tasks, groups and DAGs, URIs of assets, text.

A name that Airflow takes stays as it is. In any other, other characters become `_`, what is too
long is cut, and a short hash is appended: two names never become one id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import quote

# Airflow allows 250 characters. The folders of a task's log, `dag_id=…` and `task_id=…`, have 255
# bytes at most.
ID_BYTES = 240
GROUP_ID_LENGTH = 200
ASSET_LENGTH = 1500
DISPLAY_NAME_LENGTH = 2000

OUR_TASK_IDS = frozenset(("check_dbt", "docs_catalog", "on_run_end", "on_run_start", "run_results"))
"""The tasks without a dot in their id. A task group has no dot in its id either."""

_ID = re.compile(r"[\w.-]+")
_GROUP_ID = re.compile(r"[\w-]+")
_OTHER_IN_ID = re.compile(r"[^A-Za-z0-9_.-]")
_OTHER_IN_GROUP_ID = re.compile(r"[^A-Za-z0-9_-]")
_PRINTABLE_ASCII = "".join(map(chr, range(0x20, 0x7F)))


def is_id(name: str) -> bool:
    """Whether Airflow takes `name` as the id of a task or a DAG."""
    return bool(_ID.fullmatch(name)) and len(name.encode()) <= ID_BYTES


def hashed_id(name: str, hashed: str) -> str:
    """A valid id made from `name`, with a hash of the text `hashed`, which no other id has."""
    digest = _digest(hashed)
    return f"{_OTHER_IN_ID.sub('_', name)[: ID_BYTES - len(digest) - 1]}.{digest}"


def group_id(folders: Sequence[str]) -> str:
    """The id of the task group of a path of folders: `staging__shop`.

    `a/b` and `a__b` would have one id: a folder with `__` in its name, or `_` at an end, gets the
    hash, as does a path that is not valid or that is the id of a task.
    """
    joined = "__".join(folders)
    ambiguous = any("__" in f"{folder}_" or folder.startswith("_") for folder in folders)
    valid = _GROUP_ID.fullmatch(joined) and len(joined) <= GROUP_ID_LENGTH
    if valid and not ambiguous and joined not in OUR_TASK_IDS:
        return joined
    digest = _digest("/".join(folders))
    cut = _OTHER_IN_GROUP_ID.sub("_", joined)[: GROUP_ID_LENGTH - len(digest) - 2]
    return f"{cut}__{digest}"


def uri_of_name(unique_id: str) -> str:
    """The URI of the asset of a node. It is not a URL, whatever the name: a scheme would have rules
    of its own in Airflow.
    """
    return shorten(ascii_uri(unique_id).replace(":", "%3A"), ASSET_LENGTH)


def ascii_uri(uri: str) -> str:
    """`uri` with percent codes for all that is no printable ASCII: Airflow refuses other URIs."""
    return quote(uri, safe=_PRINTABLE_ASCII)


def shorten(name: str, length: int) -> str:
    """`name` if it has at most `length` characters, else its beginning and a hash."""
    return name if len(name) <= length else f"{name[: length - 9]}.{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:8]
