"""The form that Airflow shows to a person who triggers a run, and what it adds to dbt's commands.

A person's input becomes arguments of dbt. It is never part of a template, and a shell only gets it
quoted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from include.engine import settings

# dbt's commands that know an option (dbt-core: cli/main.py).
_FULL_REFRESH = frozenset(("run", "seed", "build"))
_EVENT_TIME = frozenset(("run", "build"))
# The types of runs that are about their data interval; other runs are about the present.
_OF_AN_INTERVAL = frozenset(("scheduled", "backfill"))


def run_params(targets: Sequence[str]) -> dict[str, Param]:
    """The params of the DAG. By default all are empty, and everything runs as configured."""
    text = ["null", "string"]
    moment = "As in 2026-01-31 or 2026-01-31T06:00:00, in UTC; both or neither. "
    return {
        "select": Param(None, type=text, description="dbt's --select: the rest is skipped."),
        "exclude": Param(None, type=text, description="dbt's --exclude: this is skipped."),
        "full_refresh": Param(
            False, type="boolean", description="Rebuilds incremental models and seeds from scratch."
        ),
        "vars": Param(None, type=["null", "object"], description="dbt's --vars, as JSON."),
        "event_time_start": Param(
            None, type=text, description=moment + "From when microbatch models are built."
        ),
        "event_time_end": Param(None, type=text, description=moment + "Until when, exclusive."),
        "target": Param(
            None,
            description="dbt's --target: an output of profiles.yml.",
            **({"enum": [None, *targets]} if targets else {"type": text}),
        ),
    }


def profile_targets(project_dir: Path, profiles_dir: Path) -> tuple[str, ...]:
    """The outputs that profiles.yml has for the project, sorted; () if it cannot be read.

    dbt reports what is wrong with the file.
    """
    try:
        profile = yaml.safe_load((project_dir / "dbt_project.yml").read_bytes())["profile"]
        profiles = yaml.safe_load((profiles_dir / "profiles.yml").read_bytes())
        return tuple(sorted(map(str, profiles[profile]["outputs"])))
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return ()


def require_known_keys(context: Mapping[str, Any]) -> None:
    """Raises AirflowFailException for keys in the configuration of the run that are no params.

    A misspelled `select` would otherwise run everything.
    """
    conf = getattr(context.get("dag_run"), "conf", None)
    if not conf:
        return
    import difflib

    known = sorted(context["dag"].params)
    for key in sorted(set(conf) - set(known)):
        close = difflib.get_close_matches(key, known, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise AirflowFailException(
            f"This run was triggered with {key!r}, which is no param of the DAG.{meant} "
            f"It takes: {', '.join(known)}"
        )


def selection_arguments(params: Mapping[str, Any]) -> tuple[str, ...]:
    """dbt's arguments for the selection in the form; () if there is none."""
    texts = ((name, str(params.get(name) or "").strip()) for name in ("select", "exclude"))
    # With `=`, a value that looks like an option is still a value.
    return tuple(f"--{name}={text}" for name, text in texts if text)


def shared_arguments(params: Mapping[str, Any]) -> tuple[str, ...]:
    """dbt's arguments that every command of the run gets. The form's variables are put over those
    of DBT_VARS.
    """
    variables = {**settings.load().vars, **(params.get("vars") or {})}
    return (
        *((f"--vars={json.dumps(variables)}",) if variables else ()),
        *((f"--target={params['target']}",) if params.get("target") else ()),
    )


def command_arguments(verb: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments that the form adds to `dbt <verb> …`."""
    times = {name: params.get(name) for name in ("event_time_start", "event_time_end")}
    return (
        *shared_arguments(params),
        *(("--full-refresh",) if params.get("full_refresh") and verb in _FULL_REFRESH else ()),
        *(
            f"--{name.replace('_', '-')}={value}"
            for name, value in times.items()
            if value and verb in _EVENT_TIME
        ),
    )


def batch_arguments(
    params: Mapping[str, Any], run_type: str, start: datetime | None, end: datetime | None
) -> tuple[str, ...]:
    """dbt's arguments that limit a microbatch model to these event times, in UTC.

    () if the form has times or asks for a full refresh, and for runs without an interval: then
    dbt's own rule holds (all batches at first, later the batches of `lookback`).
    """
    entered = any(
        params.get(name) for name in ("event_time_start", "event_time_end", "full_refresh")
    )
    if entered or run_type not in _OF_AN_INTERVAL or not start or not end or start >= end:
        return ()
    return tuple(
        f"--event-time-{name}={moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S}"
        for name, moment in (("start", start), ("end", end))
    )
