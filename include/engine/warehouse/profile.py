"""The profile that dbt uses: the project's own where it can be rendered, else one made of the
Airflow connection. A made one holds `env_var`s; their values go into the environment of dbt's
processes, so nothing secret is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from include.engine.settings import Settings
from include.engine.warehouse import adapters, variables
from include.engine.warehouse.connection import Connection
from include.engine.warehouse.installed import installed_adapters, main_adapter, missing_adapter
from include.engine.warehouse.project import (
    PROFILES_FILE,
    Project,
    Unrenderable,
    read_project,
    rendered_output,
    rendered_text,
)

# What DBT_PROFILE_FROM may be.
AUTO, CONNECTION, PROJECT = "auto", "connection", "project"
# What a made profile calls its target and its schema if neither a setting nor the project does.
TARGET = "dev"
SCHEMA = "analytics"


class ProfileError(ValueError):
    """There is no profile for dbt; the message says why and what to do."""


class Profile(NamedTuple):
    """The profile's name and adapter (None: dbt will say), the text of a made profiles.yml (empty:
    the project's own serves), the environment that dbt reads, and where the profile comes from.
    """

    name: str | None
    adapter: str | None
    text: str
    environment: Mapping[str, str]
    origin: str


def choose_profile(
    config: Settings,
    connection: Connection | None,
    environ: Mapping[str, str],
    target: str | None = None,
) -> Profile:
    """The profile for the project of the settings. Without a connection, one to nowhere is made.

    `environ` is what dbt inherits; `target` is that of one run. Raises ProfileError.
    """
    _check_setting(config)
    public = variables.connection_variables(connection) if connection else {}
    environ = {**environ, **public}
    target = target or config.target or None
    project = read_project(config.project_dir, config.profiles_dir, environ, config.vars)
    if reason := _why_not_own(config, project, target, environ):
        chosen = _made_profile(config, project, connection, target, environ, reason)
    else:
        adapter = rendered_output(project.own, target, environ, config.vars).get("type")
        chosen = Profile(project.profile, adapter, "", {}, f"of {config.profiles_dir}")
    if chosen.adapter and (missing := missing_adapter(config.dbt_executable, chosen.adapter)):
        other = _another_warehouse(config, chosen, connection)
        raise ProfileError(f"The profile {chosen.name!r} ({chosen.origin}): {missing}{other}")
    return chosen._replace(environment={**public, **chosen.environment})


def _another_warehouse(config: Settings, chosen: Profile, connection: Connection | None) -> str:
    """What to do if the project's profile names another warehouse than the person has."""
    if chosen.text and connection:
        return ""
    exported = [] if connection else [f"AIRFLOW_CONN_{config.connection.upper()}=…"]
    exported += [] if chosen.text else ["DBT_PROFILE_FROM=connection"]
    return f"\nFor another warehouse: export {' '.join(exported)} (docs/warehouses.md)"


def write_profile(profile: Profile, folder: Path) -> Path | None:
    """Writes a made profiles.yml into the folder, and returns that; None if none was made."""
    if not profile.text:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROFILES_FILE).write_text(profile.text)
    return folder


def _check_setting(config: Settings) -> None:
    if config.profile_from not in (AUTO, CONNECTION, PROJECT):
        raise ProfileError(
            f"DBT_PROFILE_FROM is {config.profile_from!r}; it takes auto, connection or project"
        )


def _why_not_own(
    config: Settings, project: Project, target: str | None, environ: Mapping[str, str]
) -> str:
    """Why a profile has to be made; empty if the project's own is to be used."""
    if config.profile_from == CONNECTION:
        return "DBT_PROFILE_FROM is connection"
    if project.own is None:
        reason = f"{config.profiles_dir} has no profile {project.profile!r}"
    else:
        try:
            rendered_output(project.own, target, environ, config.vars)
            return ""
        except Unrenderable as error:
            reason = f"that of {config.profiles_dir} cannot be rendered: {error}"
    if config.profile_from == PROJECT:
        raise ProfileError(f"DBT_PROFILE_FROM is project, but {reason}")
    return reason


def _made_profile(
    config: Settings,
    project: Project,
    connection: Connection | None,
    target: str | None,
    environ: Mapping[str, str],
    reason: str,
) -> Profile:
    own = project.own or {}
    outputs = own.get("outputs") if isinstance(own.get("outputs"), Mapping) else {}
    target = target or rendered_text(own.get("target"), environ, config.vars) or TARGET
    like = outputs.get(target) if isinstance(outputs.get(target), Mapping) else {}
    fields = _output_fields(config, connection or _stand_in(config, like), reason)
    schema = rendered_text(like.get("schema") or like.get("dataset"), environ, config.vars)
    fields["schema"] = config.schema or fields.get("schema") or schema or SCHEMA
    environment = adapters.google_credentials(connection) if connection else {}
    output = {
        name: variables.with_variables(value, environment, name) if name != "type" else value
        for name, value in fields.items()
    }
    name = project.profile or "default"
    if not project.profile:
        environment["DBT_PROFILE"] = name
    every_target = dict.fromkeys(sorted({target, *map(str, outputs)}), output)
    return Profile(
        name=name,
        adapter=fields["type"],
        text=yaml.safe_dump({name: {"target": target, "outputs": every_target}}, sort_keys=False),
        environment=environment,
        origin=f"made {'of the Airflow connection' if connection else 'here'}, because {reason}",
    )


def _output_fields(config: Settings, connection: Connection, reason: str) -> dict[str, Any]:
    """Raises ProfileError if there is no adapter for the connection."""
    try:
        fields = adapters.output_fields(connection)
    except adapters.UnknownType as error:
        raise ProfileError(
            f"{reason}, and {error}. Write {config.profiles_dir / PROFILES_FILE}: "
            "docs/warehouses.md shows how"
        ) from None
    return {**fields, "threads": config.threads}


def _stand_in(config: Settings, own: Mapping[str, Any]) -> Connection:
    """A connection to nowhere, for the adapter that the project names or dbt's environment has.

    Raises ProfileError if a profile can be made for none of them.
    """
    installed = installed_adapters(config.dbt_executable)
    named = own.get("type")
    adapter = named if named in adapters.ADAPTERS else main_adapter(installed)
    if adapter:
        return adapters.stand_in(adapter)
    if not installed:  # dbt v2 brings its adapters along
        return adapters.stand_in("postgres")
    raise ProfileError(
        f"No profile can be made for what is installed ({', '.join(sorted(installed))}). "
        f"Write {config.profiles_dir / PROFILES_FILE}: docs/warehouses.md shows how"
    )
