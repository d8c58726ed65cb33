"""Where warm cannot serve, the real dbt runs, and one line says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from .conftest import LAUNCHER, eventually
from .test_processes import as_nobody


@pytest.fixture
def fake(tmp_path):
    """A dbt that is no Python program, as dbt v2: it says how it was called and fails."""
    path = tmp_path / "a folder" / "dbt"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\necho "$# $*"\nexit 7\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def foreign(fake):
    """The same with a Python beside it that has no dbt."""
    (fake.parent / "python").symlink_to(shutil.which("python3"))
    return fake


@pytest.fixture
def pythonic(fake, dbt):
    """The same with a Python beside it, so that the client is asked."""
    (fake.parent / "python").symlink_to(dbt.resolve().parent / "python")
    return fake


def run(dbt, *arguments, launcher=(LAUNCHER,), **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DBT_", "XDG_"))}
    result = subprocess.run(
        [*launcher, *arguments], env=kept | {"DBT_EXECUTABLE": str(dbt)} | env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    return result.returncode, result.stdout, result.stderr.removeprefix("dbt starts cold: ")


def test_dbt_without_python(fake):
    """Also with spaces in its path and in the arguments."""
    code, out, why = run(fake, "run", "--select", "a b")
    assert (code, out, why) == (7, "3 run --select a b\n", f"there is no Python beside {fake}\n")


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"DBT_WARM": "false"}, ""),
        ({"AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}, "one task per pod\n"),
    ],
)
def test_switched_off(pythonic, env, why):
    assert run(pythonic, "run", **env) == (7, "1 run\n", why)


def test_dbt_that_takes_no_parsed_manifest_runs_as_it_is(fake, tmp_path):
    """A binary, and a Python program without dbt: with one line, and nothing is left."""
    kept = {"DBT_MANIFEST_CACHE": str(tmp_path / "parsed")}
    assert run(fake, "run", **kept) == (7, "1 run\n", f"there is no Python beside {fake}\n")
    (fake.parent / "python").symlink_to(shutil.which("python3"))
    assert run(fake, "run", **kept, **POD) == (7, "1 run\n", f"one task per pod{NO_DBT}\n")
    assert run(fake, "run", **kept, DBT_WARM="false")[2] == f"DBT_WARM is false{NO_DBT}\n"
    assert not (tmp_path / "parsed").exists()


@pytest.mark.parametrize("arguments", [("deps",), ("--version",), ("run", "--help"), ("clean",)])
def test_commands_that_gain_nothing(pythonic, arguments):
    code, out, why = run(pythonic, *arguments)
    assert (code, out) == (7, f"{len(arguments)} {' '.join(arguments)}\n")
    assert why == f"`dbt {arguments[0]}` gains nothing from a warm server\n"


NO_DBT = "; PackageNotFoundError: No package metadata was found for dbt-core"
POD = {"AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}


@pytest.mark.parametrize(
    ("env", "reason"), [(POD, "one task per pod"), ({"DBT_WARM": "off"}, "DBT_WARM is off")]
)
@pytest.mark.parametrize("program", ["fake", "foreign"])
def test_hooks_where_dbt_is_no_python_program(request, program, env, reason):
    """It runs them with each node. In the task of the hooks it would build the project."""
    dbt = request.getfixturevalue(program)
    reason += NO_DBT if program == "foreign" else ""
    code, out, why = run(dbt, "run", DBT_HOOKS="none", **env)
    assert (code, out) == (7, "1 run\n")
    assert why == f"dbt starts cold, and hooks with it: {reason}\n"
    code, out, why = run(dbt, "build", DBT_HOOKS="on-run-end", **env)
    assert (code, out) == (2, "")
    assert why == (
        f"dbt cannot run on-run-end hooks alone: {reason} "
        "(with DBT_WARM=false hooks run with each command)\n"
    )


@pytest.mark.parametrize("program", ["fake", "foreign"])
def test_a_command_of_a_dag_run_where_dbt_is_no_python_program(request, program):
    dbt = request.getfixturevalue(program)
    moment = {"DBT_RUN_STARTED_AT": "2026-01-31T06:00:00+00:00"}
    reason = "one task per pod" + (NO_DBT if program == "foreign" else "")
    assert run(dbt, "run", **POD, **moment) == (7, "1 run\n", f"{reason}\n")


def test_path_too_long(pythonic, tmp_path):
    folder = tmp_path / ("x" * 100)
    code, _, why = run(pythonic, "run", DBT_WARM_DIR=str(folder))
    assert code == 7
    assert why.endswith("is too long for a socket (DBT_WARM_DIR sets its folder)\n")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_folder_that_others_may_enter(pythonic, tmp_path, mode):
    folder = tmp_path / "w"
    folder.mkdir()
    folder.chmod(mode)
    code, _, why = run(pythonic, "run", DBT_WARM_DIR=str(folder))
    assert (code, why) == (7, f"{folder} is not a folder that only you can enter; remove it\n")
    assert list(folder.iterdir()) == []


def test_folder_that_is_a_link(pythonic, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "w").symlink_to(tmp_path / "real")
    code, _, why = run(pythonic, "run", DBT_WARM_DIR=str(tmp_path / "w"))
    assert (code, "remove it" in why) == (7, True)


def test_folder_of_somebody_else(pythonic, tmp_path):
    """Another user made it first."""
    folder = of_somebody_else(tmp_path)
    found = os.lstat(folder)
    assert (found.st_mode & 0o777, found.st_uid != os.getuid()) == (0o700, True)
    code, _, why = run(pythonic, "run", DBT_WARM_DIR=str(folder))
    assert (code, why) == (7, f"{folder} is not a folder that only you can enter; remove it\n")


def of_somebody_else(tmp_path: Path) -> Path:
    """A folder that only another user can enter; for an ordinary user, root's own."""
    if os.getuid():
        return Path("/root")
    folder = tmp_path / "open" / "w"
    folder.parent.mkdir()
    folder.parent.chmod(0o777)
    for above in tmp_path.parents[:-2]:
        above.chmod(above.stat().st_mode | 0o011)
    tmp_path.chmod(0o711)
    assert as_nobody(lambda: os.mkdir(folder, 0o700) or "made") == "made"
    return folder


def test_disk_full(pythonic, tmp_path):
    """No room for a socket."""
    folder = tmp_path / "w"
    folder.mkdir(mode=0o700)
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "nr_inodes=1,mode=700", "tmpfs", folder], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        code, _, why = run(pythonic, "run", DBT_WARM_DIR=str(folder))
        assert (code, why) == (7, "No space left on device (on the way to its server)\n")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_server_that_cannot_import_dbt(foreign):
    """It says so to each client, and in its log."""
    folder = Path(tempfile.mkdtemp(prefix="w-", dir="/tmp"))
    reason = f"dbt cannot be kept ready: {NO_DBT.removeprefix('; ')}\n"
    for _ in range(2):
        found = run(foreign, "run", DBT_WARM_DIR=str(folder), DBT_WARM_IDLE="3")
        assert found == (7, "1 run\n", reason)
    (log,) = folder.glob("*.log")
    assert log.read_text().count(f" refuses all commands: {reason}") == 1
    assert eventually(lambda: not list(folder.glob("*.sock")))
    shutil.rmtree(folder)


def test_launcher_without_its_executable_bit(fake):
    assert run(fake, "run", launcher=("sh", LAUNCHER), DBT_WARM="false")[:2] == (7, "1 run\n")
