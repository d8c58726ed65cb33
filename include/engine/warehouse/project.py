"""What a dbt project says about its warehouse: which profile it asks for, and whether that is here.

A profile is rendered here only to know whether dbt could: the words are those of dbt's own Jinja
context for profiles.yml (https://docs.getdbt.com/reference/dbt-jinja-functions).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from jinja2.sandbox import SandboxedEnvironment

# Each task reads two files: the loader in C is the faster one.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PROJECT_FILE = "dbt_project.yml"
PROFILES_FILE = "profiles.yml"
# dbt's default of `packages-install-path`.
PACKAGES = "dbt_packages"


class Unrenderable(ValueError):
    """A text of the project cannot be rendered; the message names what is missing."""


class Project(NamedTuple):
    """The project's name, the name of its profile (None: it names none), the folder that
    `dbt deps` installs into, and the profile of that name, as it is written (None: there is none).
    """

    name: str
    profile: str | None
    packages: Path
    own: Mapping[str, Any] | None


def read_project(
    folder: Path, profiles: Path, environ: Mapping[str, str], variables: Mapping[str, Any]
) -> Project:
    """The project in `folder`. What is wrong with its YAML is dbt's to say: it reads as empty."""
    words = read_yaml(folder / PROJECT_FILE)
    profile = environ.get("DBT_PROFILE") or rendered_text(words.get("profile"), environ, variables)
    packages = rendered_text(words.get("packages-install-path"), environ, variables) or PACKAGES
    own = read_yaml(profiles / PROFILES_FILE).get(profile)
    return Project(
        name=str(words.get("name") or ""),
        profile=profile,
        packages=folder / packages,
        own=own if isinstance(own, Mapping) else None,
    )


def rendered_output(
    own: Mapping[str, Any],
    target: str | None,
    environ: Mapping[str, str],
    variables: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The output that dbt would use, its texts rendered. Raises Unrenderable."""
    name = target or _render(own.get("target") or "default", environ, variables)
    outputs = own.get("outputs")
    if not isinstance(outputs, Mapping) or not isinstance(outputs.get(name), Mapping):
        raise Unrenderable(f"it has no output {name!r}")
    return _render(outputs[name], environ, variables)


def rendered_text(
    value: Any, environ: Mapping[str, str], variables: Mapping[str, Any]
) -> str | None:
    """The rendered text; None if there is none, or if something in it has no value here."""
    try:
        return str(_render(value, environ, variables)) if value else None
    except Unrenderable:
        return None


def _render(value: Any, environ: Mapping[str, str], variables: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _render(part, environ, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [_render(part, environ, variables) for part in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    try:
        return _template(value).render(
            env_var=lambda name, default=None: _lookup("env_var", environ, name, default),
            var=lambda name, default=None: _lookup("var", variables, name, default),
            fromjson=json.loads,
            tojson=json.dumps,
        )
    except (jinja2.TemplateError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise Unrenderable(str(error)) from None


@cache
def _template(text: str) -> jinja2.Template:
    """The compiled text: each task's process renders a profile twice. Raises TemplateError."""
    jinja = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    jinja.filters.update(as_text=str, as_native=str, as_bool=str, as_number=_number)
    return jinja.from_string(text)


def _lookup(function: str, values: Mapping[str, Any], name: str, default: Any) -> Any:
    found = values.get(name, default)
    if found is None:
        raise Unrenderable(f"{function}('{name}') has no value")
    return found


def _number(text: str) -> str:
    float(text)
    return text


def read_yaml(file: Path) -> Mapping[str, Any]:
    """The mapping in a file of YAML; {} without one."""
    try:
        found = yaml.load(file.read_bytes(), Loader=LOADER)
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, Mapping) else {}
