"""The adapters in dbt's environment, and the command that adds one."""

from __future__ import annotations

from pathlib import Path

from include.engine import settings
from include.engine.warehouse.adapters import ADAPTERS

# dbt's own folders beside those of adapters (dbt-core: dbt/include).
_NO_ADAPTERS = frozenset(("global_project", "starter_project"))


def installed_adapters(dbt: Path) -> frozenset[str]:
    """The names of the adapters beside that `dbt`. Empty if that is no Python package: the binary
    of dbt v2 has its adapters inside.
    """
    found = dbt.resolve().parent.parent.glob(
        "lib*/python*/*-packages/dbt/include/*/dbt_project.yml"
    )
    return frozenset(file.parent.name for file in found) - _NO_ADAPTERS


def main_adapter(installed: frozenset[str]) -> str | None:
    """The one that a project most likely is for. Redshift's brings that of Postgres along, and
    Databricks' that of Spark; None if none is known.
    """
    known = sorted(
        installed & set(ADAPTERS), key=lambda name: (name in ("postgres", "spark"), name)
    )
    return known[0] if known else None


def add_command(dbt: Path, adapter: str) -> str:
    """The shell's text that installs an adapter."""
    package = ADAPTERS[adapter].package if adapter in ADAPTERS else f"dbt-{adapter}"
    if dbt.is_relative_to(settings.ROOT):
        line = f"{package}  # how dbt talks to the warehouse"
        return f"echo '{line}' >> requirements-dbt.in && make pins manifest"
    return f"{dbt.parent / 'python'} -m pip install '{package}'"


def missing_adapter(dbt: Path, adapter: str) -> str:
    """What to say and to do if the adapter is not there; empty if it is."""
    installed = installed_adapters(dbt)
    if not installed or adapter in installed:
        return ""
    return (
        f"dbt has no adapter {adapter} here (it has {', '.join(sorted(installed))}). "
        f"Add it with: {add_command(dbt, adapter)}"
    )
