"""What `dbt ls` says, among whatever else a project prints."""

from __future__ import annotations

import json

# The format is named here: a project's own flags may ask for another one.
LIST = ("ls", "--log-format", "text", "--output", "json", "--output-keys", "unique_id")


def listed_ids(output: str) -> set[str]:
    """The unique ids that `LIST` printed. Macros of the project may print between them."""
    return {entry["unique_id"] for line in output.splitlines() if (entry := _entry(line))}


def _entry(line: str) -> dict | None:
    """The line as one of the listed objects, None if it is something else."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() == {"unique_id"} else None
