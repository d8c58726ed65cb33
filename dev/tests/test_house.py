"""The rooms of the engine, and what each may import: docs/design.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from include.engine.settings import ROOT

ENGINE = ROOT / "include" / "engine"
BELOW = {
    "settings": set(),
    "version": set(),
    "inside": set(),
    "warm": {"inside"},
    "warehouse": {"settings"},
    "manifest": {"settings", "warehouse"},
    "plan": {"settings", "manifest"},
    "run": {"settings", "warehouse", "manifest", "plan"},
    "dag": {"settings", "version", "warehouse", "manifest", "plan", "run"},
    "ui": {"settings", "version", "warehouse", "manifest", "plan", "run"},
}
"""By room, the rooms that it may import besides itself."""

BESIDE = {("run/process.py", "warm"), ("run/shared_manifests.py", "inside")}
"""The files that talk to the processes of dbt."""

WITHOUT_AIRFLOW = {"settings", "version", "warehouse", "plan", "inside", "warm"}
"""Rooms that know nothing of Airflow. `manifest` knows its object storage."""


def imports(file: Path) -> Iterator[str]:
    """The dotted names that a file imports, those of functions included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(dotted: str) -> str:
    """The room of a module of the engine, "" for one of another place."""
    parts = dotted.split(".")
    return parts[2] if parts[:2] == ["include", "engine"] and len(parts) > 2 else ""


def files() -> Iterator[tuple[str, str, list[str]]]:
    """Room, path below the engine, and imports of each file of the engine."""
    for file in sorted(ENGINE.rglob("*.py")):
        path = file.relative_to(ENGINE)
        if path.name != "__init__.py":
            yield path.parts[0].removesuffix(".py"), str(path), list(imports(file))


def test_imports_go_down_only():
    upward = [
        f"{path} imports {name}"
        for own, path, names in files()
        for name in names
        if room(name) not in {"", own, *BELOW[own]} and (path, room(name)) not in BESIDE
    ]
    assert upward == []


def test_what_runs_inside_dbt_knows_no_server():
    """These two rooms are on sys.path, so their modules import each other by plain names."""
    inside, warm = ({f.stem for f in (ENGINE / name).glob("*.py")} for name in ("inside", "warm"))
    assert inside & warm == {"__init__"}
    known = {name for own, _, names in files() if own == "inside" for name in names}
    assert known & warm == set()


def test_only_some_rooms_know_airflow():
    knowing = [
        f"{path} imports {name}"
        for own, path, names in files()
        for name in names
        if own in WITHOUT_AIRFLOW and name.split(".")[0] == "airflow"
    ]
    assert knowing == []


def test_the_engine_imports_nothing_of_the_users_or_of_the_developers():
    outside = [
        f"{path} imports {name}"
        for _, path, names in files()
        for name in names
        if name.split(".")[0] in ("dags", "dev", "plugins", "scripts", "tests")
    ]
    assert outside == []


def test_the_dag_file_and_the_plugin_use_one_room_each():
    used = {
        name: {room(module) for module in imports(ROOT / name) if room(module)}
        for name in ("dags/dbt_dag.py", "plugins/dbt_docs.py")
    }
    assert used == {"dags/dbt_dag.py": {"dag"}, "plugins/dbt_docs.py": {"dag", "ui"}}
