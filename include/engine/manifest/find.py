"""Which file the manifest is read from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from include.engine.settings import Settings, is_deployed


def find_manifest(config: Settings, may_be_old: bool = False) -> Path:
    """The local copy of the manifest at DBT_MANIFEST_URL if that is set, else the newest file of
    DBT_MANIFEST, DBT_MORE_MANIFESTS and, if `astro dbt deploy` brought the project, its target/.

    `may_be_old` is for task processes: they take a copy that was compared a short while ago.
    """
    if config.manifest_url:
        from include.engine.manifest import (
            download,  # Airflow's object storage takes a while to import
        )

        return download.local_copy(config.manifest_url, may_be_old)
    project = config.project_dir
    deployed = [project / "target" / "manifest.json"] if is_deployed(project) else []
    return newest_file([config.manifest, *config.more_manifests, *deployed])


def newest_file(files: Iterable[Path]) -> Path:
    """The file that was modified last; the first of several with one time, or if none is there."""
    return max(files, key=modified_ns)


def modified_ns(file: Path) -> int:
    """When the file was modified, in ns; -1 if there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return -1
