"""Has dbt build the manifest that the DAG is made from: `python -m include.engine.manifest.build`.

dbt compiles the project without a database, and lists what DBT_SELECT and its like leave in. Only
when both went well does the new manifest take the place of the old one. Beside it goes the page of
dbt's documentation site, which reads the manifest in the browser.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from include.engine import settings
from include.engine.manifest import staleness
from include.engine.manifest.command import (
    Builder,
    BuildError,
    failure,
    require,
    run_dbt,
    why_not_compiled,
)
from include.engine.manifest.hooks import once_per_run
from include.engine.manifest.listing import LIST, listed_ids
from include.engine.manifest.packages import install_packages
from include.engine.warehouse.connection import from_environment
from include.engine.warehouse.profile import (
    Profile,
    ProfileError,
    choose_profile,
    write_profile,
)
from include.engine.warehouse.project import read_project

# Without a database. A model whose `is_incremental()` looks for its table cannot be compiled so.
COMPILE = ("compile", "--no-introspect", "--no-populate-cache")
INCREMENTAL = "config.materialized:incremental"
# What runs a dbt command where no warm dbt does.
COLD = settings.ROOT / "include" / "engine" / "warm" / "cold.py"
# The page that `dbt docs generate` copies, seconds after it was started (dbt-core: task/docs).
DOCS = "lib/python*/site-packages/dbt/task/docs/index.html"


def main() -> int:
    """Builds the manifest of the settings; 1 and dbt's own message where dbt fails."""
    config = settings.load()
    try:
        build(config, os.environ)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"manifest: {config.manifest}")
    return 0


def build(config: settings.Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Writes the manifest at `config.manifest`. Raises BuildError, and then leaves it as it was."""
    if not os.access(config.dbt_executable, os.X_OK):
        raise BuildError(f"No dbt at {config.dbt_executable}. Install it with: make manifest")
    config.manifest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=config.manifest.parent) as name:
        builder = make_builder(config, environ, Path(name))
        project = read_project(
            config.project_dir, builder.profiles, builder.environment, config.vars
        )
        install_packages(builder, project)
        files = staleness.project_files(config.project_dir)
        compile_project(builder)
        built = builder.folder / "manifest.json"
        if not built.exists():
            raise BuildError(f"{config.dbt_executable} went well and wrote no manifest: is it dbt?")
        raw = json.loads(built.read_bytes())
        select_nodes(builder, built, raw)
        warn_of_hooks(config, raw)
        built.replace(config.manifest)
        staleness.write_list(config.manifest, files)
        copy_docs(config, builder.folder)


def make_builder(config: settings.Settings, environ: Mapping[str, str], folder: Path) -> Builder:
    """What dbt's commands need; says so if their profile is not the project's own."""
    shared = {
        "DBT_PACKAGES_INSTALL_PATH": str(config.packages),
        "DBT_USE_COLORS": "false",
        **environ,
        "DBT_WRITE_JSON": "true",
    }
    try:
        profile = project_profile(config, shared)
    except ProfileError as error:
        raise BuildError(str(error)) from None
    made = write_profile(profile, folder / "profile")
    if made:
        print(f"dbt's profile {profile.name!r} for {profile.adapter} is {profile.origin}.")
    return Builder(config, folder, made or config.profiles_dir, shared | dict(profile.environment))


def project_profile(config: settings.Settings, environ: Mapping[str, str]) -> Profile:
    """The profile for a build, by the connection if the environment has it. Raises ProfileError."""
    try:
        connection = from_environment(config.connection, environ)
    except ValueError:
        raise ProfileError(
            f"AIRFLOW_CONN_{config.connection.upper()} is neither JSON nor a URI: see .env.example"
        ) from None
    return choose_profile(config, connection, environ)


def compile_project(builder: Builder) -> None:
    """Has dbt write a manifest, with compiled queries where that needs no warehouse.

    dbt stops at the first query that cannot be compiled so: then `dbt parse` writes the manifest,
    and each query is compiled when it runs. Raises BuildError if dbt cannot read the project.
    """
    done = run_dbt(builder, *compile_command(builder.config))
    if not done.returncode:
        return
    (builder.folder / "manifest.json").unlink(missing_ok=True)
    parsed = run_dbt(builder, "parse")
    if parsed.returncode:
        raise BuildError(failure(builder.config, ("parse",), parsed))
    print(
        "`dbt parse` built the manifest, and queries are compiled when they run: "
        f"{why_not_compiled(done.stdout)}."
    )


def compile_command(config: settings.Settings) -> list[str]:
    """The compilation of what the DAG will have, less incremental models."""
    if config.selector:  # dbt takes no `--exclude` beside it
        return [*COMPILE, "--selector", config.selector]
    arguments = selection_arguments(config._replace(exclude=f"{INCREMENTAL} {config.exclude}"))
    return [*COMPILE, *arguments]


def select_nodes(builder: Builder, manifest: Path, raw: Mapping) -> None:
    """Adds to the manifest what the settings, or the project's default selector, leave in."""
    arguments = selection_arguments(builder.config)
    if arguments or has_default_selector(raw):
        write_selection(manifest, listed_ids(require(builder, *LIST, *arguments)))


def has_default_selector(raw: Mapping) -> bool:
    """Whether dbt's commands without a selection follow a selector of selectors.yml."""
    selectors = raw.get("selectors") or {}
    return any(selector.get("default") is True for selector in selectors.values())


def selection_arguments(config: settings.Settings) -> list[str]:
    """dbt's own selection arguments, from the settings; [] for the whole project."""
    options = {
        "--select": config.select,
        "--exclude": config.exclude,
        "--selector": config.selector,
        "--state": config.select_state,
    }
    return [part for option, value in options.items() if value for part in (option, value.strip())]


def write_selection(manifest: Path, unique_ids: Iterable[str]) -> None:
    """Adds the ids to the manifest under `selected`. Raises BuildError if there are none."""
    if not unique_ids:
        raise BuildError(
            "DBT_SELECT, DBT_EXCLUDE and DBT_SELECTOR leave nothing of the project in."
        )
    raw = json.loads(manifest.read_bytes())
    raw["selected"] = sorted(unique_ids)
    manifest.write_text(json.dumps(raw))


def warn_of_hooks(config: settings.Settings, raw: Mapping) -> None:
    """Says so if the DAG will have tasks of hooks, and this dbt cannot run hooks without nodes."""
    if config.warm and once_per_run(raw, config.hooks_with_each) and (why := cold_refusal(config)):
        print(
            f"The tasks of the project's hooks cannot run with this dbt: {why}. Set "
            "DBT_WARM=false: then there are no such tasks, and all hooks run with each command "
            "(docs/hooks.md)."
        )


def cold_refusal(config: settings.Settings) -> str:
    """Why a command of this dbt that runs cold is not one of a DAG run, with its hooks and its
    time (warm/cold.py); an empty text if it is.
    """
    python = config.dbt_executable.resolve().parent / "python"
    if not os.access(python, os.X_OK):
        return f"there is no Python beside {config.dbt_executable}"
    done = subprocess.run(
        [python, COLD, "check"], capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout.strip() or ("" if not done.returncode else done.stderr.strip())


def copy_docs(config: settings.Settings, folder: Path) -> None:
    """Puts dbt's documentation page beside the manifest, if this dbt brings one."""
    for page in config.dbt_executable.parent.parent.glob(DOCS):
        shutil.copyfile(page, folder / page.name)
        (folder / page.name).replace(config.manifest.with_name(page.name))


if __name__ == "__main__":
    sys.exit(main())
