"""The pinned files, what makes environments of them, and the verbs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dev import check_wheels
from scripts import venv

ROOT = Path(__file__).resolve().parents[3]


def pins(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith((" ", "#"))]


@pytest.mark.parametrize("name", check_wheels.PINS)
def test_everything_is_pinned_and_no_index_or_path_is_named(name):
    assert [line for line in pins(name) if not re.match(r"[a-z0-9-]+==[\w.]+( ; .+)?$", line)] == []
    assert not re.search(r"://|index|file:|/tmp|/home|/root", (ROOT / name).read_text())


ASKED = (
    "requirements-dbt",
    "dev/requirements-dev",
    "dev/requirements-browser",
    "dev/requirements-celery",
    "dev/requirements-kubernetes",
    "dev/requirements-pods",
)


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_for_is_pinned(name):
    asked = {re.match(r"[\w-]+", line)[0] for line in pins(f"{name}.in")}
    assert asked <= {line.partition("==")[0] for line in pins(f"{name}.txt")}


def test_every_dependency_has_its_reason_beside_it():
    for name in ASKED:
        assert [line for line in pins(f"{name}.in") if not re.search(r"  # \w+", line)] == []


def test_the_unused_parser_is_left_out():
    assert not any("experimental-parser" in line for line in pins("requirements-dbt.txt"))


def test_the_image_gets_airflow_from_its_runtime():
    assert not any(line.startswith("apache-airflow") for line in pins("requirements.txt"))


def test_wheels_are_asked_for_by_python_and_platform():
    assert check_wheels.dry_run("uv", "pins.txt", "3.14", "aarch64-apple-darwin", "/t") == [
        *("uv", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--only-binary", ":all:"),
        *("--python-version", "3.14", "--python-platform", "aarch64-apple-darwin"),
        *("--target", "/t", "-r", "pins.txt"),
    ]


@pytest.fixture
def made(tmp_path) -> tuple[Path, dict[str, str]]:
    """An environment that is whole, and what it was made of."""
    (tmp_path / "pins.txt").write_text("dbt-core==1.12.6\n")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    wanted = venv.made_of(tmp_path / "pins.txt", tmp_path / "venv")
    venv.write_made_of(tmp_path / "venv", wanted)
    return tmp_path / "venv", wanted


def test_an_environment_is_kept_while_it_is_what_is_wanted(made):
    folder, wanted = made
    assert venv.is_made(folder, wanted, any_python=False)


@pytest.mark.parametrize("changed", ["pins", "folder"])
def test_an_environment_of_other_pins_or_another_folder_is_made_again(made, changed):
    folder, wanted = made
    assert not venv.is_made(folder, wanted | {changed: "other"}, any_python=True)


def test_another_python_matters_only_when_one_was_asked_for(made):
    folder, wanted = made
    assert venv.is_made(folder, wanted | {"python": "3.14.0"}, any_python=True)
    assert not venv.is_made(folder, wanted | {"python": "3.14.0"}, any_python=False)


def test_an_environment_is_made_again_when_the_user_lists_another_package(made):
    folder, wanted = made
    pins, more = folder.with_name("pins.txt"), folder.with_name("requirements.txt")
    assert venv.requirements(more) == []
    more.write_text("# none\n")
    assert venv.requirements(more) == []
    more.write_text("# none\n\n  httpx ; python_version > '3'\n")
    other = venv.made_of(pins, folder, more)
    assert other == wanted | {"more": "httpx ; python_version > '3'"}
    assert not venv.is_made(folder, other, any_python=True)


@pytest.fixture
def index(tmp_path) -> Path:
    """A folder of wheels: two versions of `pinned`, and `extra`, which depends on `pinned`."""
    for name, version, more in (
        ("pinned", "1.0", ""),
        ("pinned", "2.0", ""),
        ("extra", "1.0", "Requires-Dist: pinned\n"),
    ):
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(tmp_path / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
            wheel.writestr(f"{info}/METADATA", about)
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
    return tmp_path


def make_venv(index: Path, listed: str, tool: str) -> subprocess.CompletedProcess:
    """Runs scripts/venv.py with the pin `pinned==1.0` and `listed` in requirements.txt."""
    (index / "pins.txt").write_text("pinned==1.0\n")
    (index / "requirements.txt").write_text(listed)
    folders = {f"{name}_FIND_LINKS": str(index) for name in ("UV", "PIP")}
    environ = os.environ | folders | {"UV_NO_INDEX": "1", "PIP_NO_INDEX": "1", "UV": tool}
    command = [sys.executable, str(ROOT / "scripts" / "venv.py"), "a venv", "pins.txt"]
    command += ["--more", "requirements.txt"]
    return subprocess.run(command, cwd=index, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("tool", ["", *filter(None, [shutil.which("uv")])])
def test_what_the_user_lists_is_installed_within_the_pins(index, tool):
    done = make_venv(index, "extra\n", tool)
    assert done.returncode == 0, done.stderr
    program = "import extra, pinned; print(extra.VERSION, pinned.VERSION)"
    found = subprocess.run(["a venv/bin/python", "-c", program], cwd=index, capture_output=True)
    assert found.stdout == b"1.0 1.0\n"
    done = make_venv(index, "pinned==2.0\n", tool)
    assert done.returncode == 1
    assert done.stderr.endswith("requirements.txt has to fit the pins of pins.txt.\n")


def test_an_environment_that_was_interrupted_or_has_lost_its_python_is_made_again(made):
    folder, wanted = made
    (folder / "bin" / "python").unlink()
    assert not venv.is_made(folder, wanted, any_python=True)
    assert not venv.is_made(folder / "none", wanted, any_python=True)


def test_uv_is_used_when_there_is_one_and_it_is_not_forbidden(monkeypatch):
    monkeypatch.setattr(venv.shutil, "which", lambda _: "/bin/uv")
    assert venv.find_uv({}) == "/bin/uv"
    assert venv.find_uv({"UV": ""}) is None
    assert venv.find_uv({"UV": "/other/uv"}) == "/other/uv"


def test_progress_is_read_from_what_pip_prints():
    assert venv.progress("Collecting a\nCollecting b\n") == "2 packages found"
    assert venv.progress("Collecting a\nInstalling collected packages: a") == "installing"
    assert venv.progress("") == "at work"


def run_python(**environ: str) -> subprocess.CompletedProcess:
    command = ["sh", str(ROOT / "scripts" / "python"), "-c", "print('hello')"]
    return subprocess.run(command, env=environ, capture_output=True, text=True)


def test_a_python_that_is_asked_for_is_used_or_refused_by_name():
    assert run_python(PYTHON=sys.executable, PATH="/bin:/usr/bin").stdout == "hello\n"
    refused = run_python(PYTHON="/no/python", PATH="/bin:/usr/bin")
    assert refused.returncode == 1
    assert refused.stderr == "PYTHON=/no/python is not a Python between 3.10 and 3.14.\n"


def test_without_a_fit_python_the_way_to_name_one_is_said(tmp_path):
    (tmp_path / "sh").symlink_to("/bin/sh")
    refused = run_python(PATH=str(tmp_path))
    assert refused.returncode == 1
    assert "make PYTHON=/path/to/python3" in refused.stderr


def test_every_verb_has_a_line_of_help():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    helped = re.findall(r"^([a-z-]+):.* ## \S", makefile, re.M)
    assert set(phony) - set(helped) == {
        "airflow-venv",
        "dbt-venv",
        "peers-venv",
        "browser-venv",
        "celery-venv",
        "kubernetes-venv",
        "own-uv",
    }
    output = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True).stdout
    assert re.findall(r"^  make (\S+)", output, re.M) == helped
