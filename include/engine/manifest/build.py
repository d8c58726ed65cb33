"""Has dbt build the manifest that the DAG is made from: `python3 -m include.engine.manifest.build`.

dbt compiles the project without a database, and lists what DBT_SELECT and its like leave in; only
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
from collections.abc import Sequence
from pathlib import Path

from include.engine import settings
from include.engine.manifest import staleness

PACKAGE_FILES = ("packages.yml", "dependencies.yml")

# Without a database: both options, and no model whose `is_incremental()` looks for its table.
COMPILE = (
    *("compile", "--no-introspect", "--no-populate-cache"),
    *("--exclude", "config.materialized:incremental"),
)
LIST = ("ls", "--quiet", "--output", "json", "--output-keys", "unique_id")
# The page that `dbt docs generate` copies, seconds after it was started (dbt-core: task/docs).
DOCS = "lib/python*/site-packages/dbt/task/docs/index.html"
# What dbt says of a model that queries the database while it is compiled, and with an adapter that
# connects all the same, as BigQuery's does.
NO_DATABASE = ("connection never acquired", "Database Error")


class BuildError(RuntimeError):
    """The manifest could not be built; the message says why and that the last one is still there.

    `output` is what dbt printed.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def main() -> int:
    """Builds the manifest of the settings; 1 and dbt's own message where dbt fails."""
    config = settings.load()
    try:
        build(config)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"manifest: {config.manifest}")
    return 0


def build(config: settings.Settings) -> None:
    """Writes the manifest at `config.manifest`. Raises BuildError, and then leaves it as it was."""
    if not os.access(config.dbt_executable, os.X_OK):
        raise BuildError(f"No dbt at {config.dbt_executable}. Install it with: make manifest")
    config.manifest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=config.manifest.parent) as folder:
        install_packages(config, folder)
        seen = staleness.project_files(config.project_dir)
        try:
            run_dbt(config, folder, COMPILE)
        except BuildError as error:
            if not any(said in error.output for said in NO_DATABASE):
                raise
            print("To compile needs the database here: dbt parse builds the manifest.")
            run_dbt(config, folder, ["parse"])
        built = Path(folder) / "manifest.json"
        if not built.exists():
            raise BuildError(f"{config.dbt_executable} went well and wrote no manifest: is it dbt?")
        if selection := selection_arguments(config):
            listed = run_dbt(config, folder, [*LIST, *selection])
            ids = [json.loads(line)["unique_id"] for line in listed.splitlines()]
            write_selection(built, ids)
        built.replace(config.manifest)
        staleness.write_list(config.manifest, seen)
        copy_docs(config, Path(folder))


def copy_docs(config: settings.Settings, folder: Path) -> None:
    """Puts dbt's documentation page beside the manifest, if this dbt brings one."""
    for page in config.dbt_executable.parent.parent.glob(DOCS):
        shutil.copyfile(page, folder / page.name)
        (folder / page.name).replace(config.manifest.with_name(page.name))


def install_packages(config: settings.Settings, folder: str) -> None:
    """Runs `dbt deps`, unless the packages of these very files are where the settings want them."""
    wanted = [config.project_dir / name for name in PACKAGE_FILES]
    digests = "\n".join(staleness.digest(file) for file in wanted if file.exists())
    stamp = config.packages / "installed"
    if not digests or (stamp.exists() and stamp.read_text() == digests):
        return
    run_dbt(config, folder, ["deps"])
    if config.packages.is_dir():
        stamp.write_text(digests)


def selection_arguments(config: settings.Settings) -> list[str]:
    """dbt's own selection arguments, from the settings; [] for the whole project."""
    given = {
        "--select": config.select,
        "--exclude": config.exclude,
        "--selector": config.selector,
        "--state": config.select_state,
    }
    return [part for option, value in given.items() if value for part in (option, value)]


def write_selection(manifest: Path, unique_ids: list[str]) -> None:
    """Adds the ids to the manifest under `selected`. Raises BuildError if there are none."""
    if not unique_ids:
        raise BuildError(
            "DBT_SELECT, DBT_EXCLUDE and DBT_SELECTOR leave nothing of the project in."
        )
    raw = json.loads(manifest.read_bytes())
    raw["selected"] = sorted(unique_ids)
    manifest.write_text(json.dumps(raw))


def run_dbt(config: settings.Settings, folder: str, argv: Sequence[str]) -> str:
    """Runs dbt with its output shown and returns what it printed. Raises BuildError if it fails."""
    places = ["--project-dir", config.project_dir, "--profiles-dir", config.profiles_dir]
    if argv[0] != "deps":
        places += ["--target-path", folder]
    done = subprocess.run(
        [config.dbt_executable, *argv, *places, "--log-path", folder],
        env=os.environ | {"DBT_PACKAGES_INSTALL_PATH": str(config.packages)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if argv[0] != "ls" or done.returncode:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        kept = f" {config.manifest} is still the last good one." if config.manifest.exists() else ""
        raise BuildError(
            f"dbt {argv[0]} failed with exit code {done.returncode}.{kept}", done.stdout
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
