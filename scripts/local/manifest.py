"""Builds the manifest before Airflow starts, if the dbt project has changed since."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from include.engine.manifest import records, staleness
from include.engine.settings import Settings
from scripts.local import processes
from scripts.local.paths import LocalError, Paths


def ensure(paths: Paths, config: Settings) -> None:
    """Build the manifest unless it is fresh. If that fails, dbt prints why.

    Raises LocalError if it cannot be built, or if there is neither a manifest nor a dbt project.
    """
    if config.manifest_url:
        return
    if not (config.project_dir / "dbt_project.yml").exists():
        if not config.manifest.exists():
            raise LocalError(
                f"No dbt project in {config.project_dir}, and no manifest at {config.manifest}."
            )
        return
    if is_fresh(config, paths.project / "requirements-dbt.txt"):
        return
    print(f"==> The manifest of {paths.display(config.project_dir)}", flush=True)
    build = [sys.executable, "-m", "include.engine.manifest.build"]
    if processes.foreground(build, {**os.environ, "DO_NOT_TRACK": "1"}, paths.project):
        raise LocalError("Nothing was run, because the manifest could not be built (see above).")


def is_fresh(config: Settings, pins: Path) -> bool:
    """Whether the manifest is that of the project as it is now, and of the dbt in `pins`.

    One with a selection is never fresh: only dbt can say whether it still selects the same.
    """
    try:
        selected = records.load_manifest(config.manifest).selected
        younger = pins.stat().st_mtime > config.manifest.stat().st_mtime
    except (OSError, records.ManifestError):
        return False
    if config.select or config.exclude or config.selector or selected is not None or younger:
        return False
    listed = staleness.list_path(config.manifest).exists()
    return listed and not staleness.changed_files(config.manifest, config.project_dir)
