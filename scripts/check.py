"""Says what the dbt project is, what dbt makes of it here, and what is left to do.

make check
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes

from include.engine import settings
from include.engine.manifest import build, staleness
from include.engine.manifest.command import BuildError
from include.engine.manifest.hooks import parse, with_each_command
from include.engine.manifest.records import load_manifest
from include.engine.plan import cache
from include.engine.warehouse.profile import Profile, ProfileError
from include.engine.warehouse.project import PROJECT_FILE, Project, read_project, read_yaml
from scripts.env_file import load_settings

# Of a whole `dbt build` there is one of each: docs/hooks.md.
OF_A_COMMAND = frozenset(("run_started_at", "invocation_id"))
# Calls without a second argument: nothing but the environment or a command line gives a value.
_CALL = re.compile(r"""\b(env_var|var)\(\s*['"]([^'"]+)['"]\s*\)""")


def main() -> int:
    load_settings(settings.ROOT)
    config = settings.load()
    if not (config.project_dir / PROJECT_FILE).exists():
        print(f"No dbt project in {config.project_dir}. Put one there: make adopt FROM=<folder>")
        return 1
    try:
        profile = build.project_profile(config, os.environ)
        build.build(config, os.environ)
    except (BuildError, ProfileError) as error:
        todo = to_do(missing_values(config))
        print("\n".join((str(error), *todo)), file=sys.stderr)
        return 1
    print("\n".join(report(config, profile)))
    return 0


def report(config: settings.Settings, profile: Profile) -> Iterator[str]:
    """The lines of the report on a project whose manifest was just built."""
    manifest = json.loads(config.manifest.read_bytes())
    project = read_project(config.project_dir, config.profiles_dir, os.environ, config.vars)
    kinds = Counter(node["resource_type"] for node in manifest["nodes"].values())
    for kind, section in (("source", "sources"), ("unit_test", "unit_tests")):
        kinds.update({kind: len(manifest[section])} if manifest.get(section) else {})
    yield f"project    {project.name}, in {config.project_dir}"
    yield f"dbt        {manifest['metadata']['dbt_version']}, adapter {profile.adapter}"
    yield f"profile    {profile.name}, {profile.origin}"
    yield f"packages   {', '.join(packages(project)) or 'none'}"
    yield f"nodes      {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}"
    yield f"tasks      {task_count(config)}, in Airflow"
    yield from hook_lines(config)
    yield from to_do(left_to_do(config, profile, manifest)) or ("to do      nothing",)
    yield "Run it with: make run"


def packages(project: Project) -> list[str]:
    """The names of the packages that are installed, sorted."""
    return sorted(file.parent.name for file in project.packages.glob(f"*/{PROJECT_FILE}"))


def task_count(config: settings.Settings) -> int:
    """How many tasks the DAGs have, as long as `dags/dbt_dag.py` leaves the schedule at daily."""
    plan = cache.load_plan(config.manifest, cache.plan_options(config, "@daily"))
    return sum(len(dag.tasks) + 1 for dag in plan)  # and each has a last task, run_results


def hook_lines(config: settings.Settings) -> Iterator[str]:
    """Whose hooks run with each command, and whose once; no line if there are none."""
    manifest = load_manifest(config.manifest)
    having = {node.package for node in manifest.nodes.values() if node.resource_type == "operation"}
    each = having
    if config.warm:
        each = having & set(with_each_command(config.hooks_with_each, manifest.sharing))
    if once := having - each:
        yield f"hooks      once per run: {', '.join(sorted(once))}"
    if each:
        yield f"hooks      with each command: {', '.join(sorted(each))} (docs/hooks.md)"


def to_do(lines: Iterable[str]) -> list[str]:
    """The lines below their heading; [] without any."""
    items = [f"  - {line}" for line in lines]
    return ["to do", *items] if items else []


def left_to_do(
    config: settings.Settings, profile: Profile, manifest: Mapping[str, Any]
) -> Iterator[str]:
    """What a person has to look at, each with its command."""
    yield from missing_values(config)
    for relation in seeded_sources(manifest):
        yield f"the source {relation} is also a seed: ref() it, so that its readers wait for it"
    if manifest.get("unit_tests") and not config.unit_tests:
        yield "unit tests are left to CI; to run each before its model: export DBT_UNIT_TESTS=true"
    if (readers := time_readers(manifest)) and (why := time_refusal(config)):
        yield (
            f"{', '.join(readers)}: run_started_at and invocation_id are read, and are others for "
            f"each task, because {why} (docs/hooks.md)"
        )
    adapter = manifest["metadata"]["adapter_type"]
    if adapter == "duckdb":
        yield (
            "DuckDB lets one process at a time write: max_active_tasks=1 for the DAG in "
            "dags/dbt_dag.py (docs/warehouses.md)"
        )
    own = not profile.text and adapter != "postgres"
    if not own and not os.environ.get(f"AIRFLOW_CONN_{config.connection.upper()}"):
        yield (
            f"make run uses a Postgres of its own; for your warehouse: export "
            f"AIRFLOW_CONN_{config.connection.upper()}=… (docs/warehouses.md)"
        )


def missing_values(config: settings.Settings) -> Iterator[str]:
    """What the project reads and nothing here gives, each with the command that gives it."""
    calls = undefined_calls(config)
    for name in sorted(calls["env_var"] - os.environ.keys()):
        yield (
            f"env_var('{name}') has no default: export {name}=…, and ENV {name}=… in the Dockerfile"
        )
    known = {*config.vars, *declared_variables(read_yaml(config.project_dir / PROJECT_FILE))}
    for name in sorted(calls["var"] - known):
        yield f"""var('{name}') has no value: export DBT_VARS='{{"{name}": …}}'"""


def time_readers(manifest: Mapping[str, Any]) -> list[str]:
    """The project and packages whose Jinja reads what is one for all of a `dbt build`, sorted."""
    texts = [
        (member["package_name"], member.get(key) or "")
        for section, key in (("nodes", "raw_code"), ("macros", "macro_sql"))
        for member in manifest[section].values()
    ]
    own = {"dbt", f"dbt_{manifest['metadata']['adapter_type']}"}
    return sorted(
        {
            package
            for package, text in texts
            if package not in own and any(word in text for word in OF_A_COMMAND)
            if OF_A_COMMAND & {name.name for name in parse(text).find_all(nodes.Name)}
        }
    )


def time_refusal(config: settings.Settings) -> str:
    """Why the commands of a DAG run have no time in common; an empty text if they have one."""
    return build.cold_refusal(config) if config.warm else "DBT_WARM is false"


def undefined_calls(config: settings.Settings) -> dict[str, set[str]]:
    """The names in `env_var` and `var` calls without a default, by function; profiles.yml is left
    out, since another profile serves where a variable has no value.
    """
    calls: dict[str, set[str]] = {"env_var": set(), "var": set()}
    for name in staleness.project_files(config.project_dir):
        file = config.project_dir / name
        if file.name != "profiles.yml" and file.suffix in (".sql", ".yml", ".yaml"):
            for function, argument in _CALL.findall(file.read_text(errors="replace")):
                calls[function].add(argument)
    return calls


def declared_variables(words: Mapping[str, Any]) -> set[str]:
    """The names of the variables in dbt_project.yml, of the project and of its packages."""
    variables = words.get("vars") or {}
    inner = [value for value in variables.values() if isinstance(value, Mapping)]
    return {*variables, *(name for mapping in inner for name in mapping)}


def seeded_sources(manifest: Mapping[str, Any]) -> list[str]:
    """The relations of sources that a seed of the project fills, sorted."""
    seeds = {
        node["relation_name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "seed"
    }
    return sorted({s["relation_name"] for s in manifest["sources"].values()} & seeds)


if __name__ == "__main__":
    sys.exit(main())
