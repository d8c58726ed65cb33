"""A command that succeeded and yet did not run one of its nodes: why, and what to do.

dbt exits with 0 if a selection matches nothing. A task does so when its dbt has another project
than the one that the manifest was built from.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Set
from typing import Any

from include.engine import settings
from include.engine.manifest import find, staleness
from include.engine.manifest.records import MEND
from include.engine.run import failures, results


def explain(missing: Set[str], listed: Set[str], others: Iterable[str]) -> list[str]:
    """The lines about nodes that are `missing` in the results of a command that succeeded.

    `listed` are the unique ids that `dbt ls` knows, `others` have a result without being wanted.
    """
    lines = [f"dbt exited with 0 but did not run {failures.shorten(sorted(missing))}."]
    if instead := sorted(node for node in others if not node.startswith("operation.")):
        lines.append(f"  It ran {failures.shorten(instead)}.")
    config = settings.load()
    stale = [f"  {line}" for line in stale_lines(config)]
    unknown = sorted(missing - listed)
    if not unknown:
        has = "  dbt has this node. Its own output in this log says what it did."
        return [*lines, has, *stale]
    lines.append(
        f"  The dbt project at {config.project_dir} on {socket.gethostname()} does not have "
        f"{failures.shorten(unknown)}, or disables it there. The manifest has it: "
        f"{config.manifest_url or find.find_manifest(config, may_be_old=True)}"
    )
    return [*lines, *(stale or (f"  {line}" for line in _ELSEWHERE))]


_ELSEWHERE = (
    "No file changed since the manifest was built. So the manifest is of another version of the "
    "project, or a variable or target of this machine disables the node.",
    "Deploy the project and its manifest together, then clear this task.",
)


def stale_lines(config: settings.Settings) -> list[str]:
    """The files that changed since the manifest was built, and what to do; [] if none did."""
    manifest = find.find_manifest(config, may_be_old=True)
    if not (changed := staleness.changed_files(manifest, config.project_dir)):
        return []
    return [
        "The dbt project changed since its manifest was built: " + failures.shorten(changed),
        MEND,
    ]


def add_errors(artifact: Mapping[str, Any], missing: Iterable[str], why: str) -> dict[str, Any]:
    """The artifact with an error as the result of each missing node."""
    errors = [results.missing_result(unique_id, "error", why) for unique_id in missing]
    return dict(artifact) | {"results": [*artifact["results"], *errors]}
