"""Makes a virtual environment out of a pinned file, unless it is there already.

    sh scripts/python scripts/venv.py .dbt/venv requirements-dbt.txt

Nothing but the pins is installed (--no-deps: each file is complete). uv does it when there is one,
else venv and pip; the environment variable UV names another uv, or, empty, forbids it. A file in
the environment, written last, says what it was made of: an interrupted installation, changed pins,
or a moved checkout (scripts in bin/ hold its path) make it anew. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

MADE_OF = "made-of.json"
SECONDS_BETWEEN_LINES = 10
USED_BY = "while there are *.json files in FOLDER, what runs out of the environment keeps it"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pins", type=Path)
    parser.add_argument("--used-by", type=Path, metavar="FOLDER", help=USED_BY)
    given = parser.parse_args()
    given.folder.parent.mkdir(parents=True, exist_ok=True)
    with given.folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two commands started at once make it once
        wanted = made_of(given.pins, given.folder)
        if is_made(given.folder, wanted, any_python=not os.environ.get("PYTHON")):
            return 0
        if given.used_by and any(given.used_by.glob("*.json")):
            print(f"{given.folder} is out of date, and in use. First: make down", file=sys.stderr)
            return 1
        try:
            make(given.folder, given.pins, find_uv(os.environ))
        except subprocess.CalledProcessError as error:
            print(
                f"{given.folder} could not be made: exit code {error.returncode}.", file=sys.stderr
            )
            return 1
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return 130
        write_made_of(given.folder, wanted)
    return 0


def made_of(pins: Path, folder: Path) -> dict[str, str]:
    """What decides whether an environment has to be made anew."""
    return {
        "pins": hashlib.sha256(pins.read_bytes()).hexdigest(),
        "folder": str(folder.resolve()),
        "python": platform.python_version(),
    }


def write_made_of(folder: Path, made: Mapping[str, str]) -> None:
    """Say in `folder` that the environment there is whole, and what it was made of."""
    (folder / MADE_OF).write_text(json.dumps(made))


def is_made(folder: Path, wanted: Mapping[str, str], any_python: bool) -> bool:
    """Whether the environment in `folder` is whole and as `wanted`."""
    try:
        made = json.loads((folder / MADE_OF).read_text())
    except (OSError, ValueError):
        return False
    if any_python:
        made = made | {"python": wanted["python"]}
    return made == wanted and (folder / "bin" / "python").exists()


def find_uv(environ: Mapping[str, str]) -> str | None:
    """The uv to use: $UV when it is set (None when it is empty), else the one on PATH."""
    return (environ["UV"] or None) if "UV" in environ else shutil.which("uv")


def make(folder: Path, pins: Path, uv: str | None) -> None:
    """Make `folder` anew. Raises CalledProcessError, after printing the end of the output."""
    count = len(re.findall(r"(?m)^[A-Za-z0-9]", pins.read_text()))
    with_what = f"Python {platform.python_version()}, {'uv' if uv else 'pip'}"
    print(f"==> {folder}: up to {count} packages of {pins} ({with_what})", flush=True)
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    if uv:
        run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], folder, began)
        install = [uv, "pip", "install", "--python", python, "--compile-bytecode"]
    else:
        run([sys.executable, "-m", "venv", str(folder)], folder, began)
        install = [
            python,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
        ]
    run([*install, "--no-deps", "-r", str(pins)], folder, began)
    print(f"    ready after {time.monotonic() - began:.0f} s", flush=True)


def run(command: list[str], folder: Path, began: float) -> None:
    """Run a command, its output in a file beside `folder`, and say now and then how far it is."""
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait(process, log, began)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, command)


def wait(process: subprocess.Popen, log: Path, began: float) -> None:
    """Wait for the end of an installation, with a line every few seconds since it `began`."""
    said = time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(
                f"    {said - began:.0f} s: {progress(log.read_text(errors='replace'))}", flush=True
            )


def progress(output: str) -> str:
    """How far an installation is, from what pip or uv has printed so far."""
    if "Installing collected packages" in output:
        return "installing"
    if collected := output.count("Collecting "):
        return f"{collected} packages found"
    return "at work"


if __name__ == "__main__":
    sys.exit(main())
