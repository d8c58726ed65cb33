"""Makes a virtual environment from a file of pins, unless it exists already.

    sh scripts/python scripts/venv.py .dbt/venv requirements-dbt.txt

Each file of pins is complete, so it is installed with --no-deps. `--more FILE` also installs what
that file lists, with its dependencies and within the pins. uv does the work if there is one, else
venv and pip. The environment variable UV names another uv; if it is empty, no uv is used. The last
file written says what the environment was made of. An interrupted installation, changed pins and a
moved checkout (scripts in bin/ hold its path) all lead to a new environment. Standard library only.
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
USED_BY = "refuse to replace the environment while there are *.json files in FOLDER"
MORE = "install what FILE lists, too, if it lists anything"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pins", type=Path)
    parser.add_argument("--more", type=Path, metavar="FILE", help=MORE)
    parser.add_argument("--used-by", type=Path, metavar="FOLDER", help=USED_BY)
    options = parser.parse_args()
    more = options.more if options.more and requirements(options.more) else None
    options.folder.parent.mkdir(parents=True, exist_ok=True)
    with options.folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two commands that start at once, one makes it
        wanted = made_of(options.pins, options.folder, more)
        if is_made(options.folder, wanted, any_python=not os.environ.get("PYTHON")):
            return 0
        if options.used_by and any(options.used_by.glob("*.json")):
            print(f"{options.folder} is out of date, and in use. First: make down", file=sys.stderr)
            return 1
        try:
            make(options.folder, options.pins, more, find_uv(os.environ))
        except subprocess.CalledProcessError as error:
            print(f"Could not make {options.folder}: exit code {error.returncode}", file=sys.stderr)
            if more and str(more) in error.cmd:
                print(f"{more} has to fit the pins of {options.pins}.", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return 130
        write_made_of(options.folder, wanted)
    return 0


def requirements(file: Path) -> list[str]:
    """The lines of a requirements file that are no comments; [] if there is no such file."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def made_of(pins: Path, folder: Path, more: Path | None = None) -> dict[str, str]:
    """What an environment is made of. If any of it changes, the environment is made again."""
    made = {
        "pins": hashlib.sha256(pins.read_bytes()).hexdigest(),
        "folder": str(folder.resolve()),
        "python": platform.python_version(),
    }
    return made | ({"more": "\n".join(requirements(more))} if more else {})


def write_made_of(folder: Path, made: Mapping[str, str]) -> None:
    """Marks the environment in `folder` as complete."""
    (folder / MADE_OF).write_text(json.dumps(made))


def is_made(folder: Path, wanted: Mapping[str, str], any_python: bool) -> bool:
    """Whether the environment in `folder` is complete and made of `wanted`."""
    try:
        made = json.loads((folder / MADE_OF).read_text())
    except (OSError, ValueError):
        return False
    if any_python:
        made = made | {"python": wanted["python"]}
    return made == wanted and (folder / "bin" / "python").exists()


def find_uv(environ: Mapping[str, str]) -> str | None:
    """The uv to use: $UV if it is set (None if it is empty), else the one on PATH."""
    return (environ["UV"] or None) if "UV" in environ else shutil.which("uv")


def make(folder: Path, pins: Path, more: Path | None, uv: str | None) -> None:
    """Makes `folder` from nothing. Prints the end of the output and raises CalledProcessError if a
    command fails.
    """
    count = len(re.findall(r"(?m)^[A-Za-z0-9]", pins.read_text()))
    files = f"{pins}, then those of {more}" if more else str(pins)
    tool = f"Python {platform.python_version()}, {'uv' if uv else 'pip'}"
    print(f"==> {folder}: up to {count} packages of {files} ({tool})", flush=True)
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    if uv:
        run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], folder, began)
        install = [uv, "pip", "install", "--python", python, "--compile-bytecode"]
    else:
        run([sys.executable, "-m", "venv", str(folder)], folder, began)
        install = [python, "-m", "pip", "install", "--disable-pip-version-check"]
        install += ["--progress-bar", "off"]
    run([*install, "--no-deps", "-r", str(pins)], folder, began)
    if more:
        run([*install, "-c", str(pins), "-r", str(more)], folder, began)
    print(f"    ready after {time.monotonic() - began:.0f} s", flush=True)


def run(command: list[str], folder: Path, began: float) -> None:
    """Runs a command with its output in a file beside `folder`, and prints its progress."""
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
    """Waits for the end of `process` and prints a line every few seconds."""
    printed = time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            step = progress(log.read_text(errors="replace"))
            print(f"    {printed - began:.0f} s: {step}", flush=True)


def progress(output: str) -> str:
    """What an installation is doing, according to the output of pip or uv."""
    if "Installing collected packages" in output:
        return "installing"
    if collected := output.count("Collecting "):
        return f"{collected} packages found"
    return "at work"


if __name__ == "__main__":
    sys.exit(main())
