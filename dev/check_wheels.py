"""Check that every pin has a wheel for each supported Python and platform.

A pin without a wheel is compiled on the user's machine: it takes minutes, needs a compiler and
often fails. Only metadata is downloaded. The check needs uv: pip evaluates `; python_version`
markers for the Python that it runs on, not for the one that it is asked about.

    python3 dev/check_wheels.py                 # about 40 seconds
    python3 dev/check_wheels.py --uv path/to/uv
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PINS = (
    "requirements-dbt.txt",
    "dev/requirements-dev.txt",
    "dev/requirements-browser.txt",
    "dev/requirements-kubernetes.txt",
    "dev/requirements-uv.txt",
)
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# glibc 2.28 is Debian 10, RHEL 8 and everything younger; the Astro Runtime is Debian 12 or later.
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")


def dry_run(uv: str, pins: str, python: str, platform: str, target: str) -> list[str]:
    """The uv command that resolves `pins` to wheels for a machine other than this one."""
    return [
        *(uv, "pip", "install", "--quiet", "--dry-run", "--no-deps", "--only-binary", ":all:"),
        *("--python-version", python, "--python-platform", platform),
        *("--target", target, "-r", pins),
    ]


def without_wheels(uv: str) -> list[str]:
    """One line for each combination that lacks a wheel, with uv's reason."""
    faults = []
    with tempfile.TemporaryDirectory() as target:
        for pins in PINS:
            for platform in PLATFORMS:
                for python in PYTHONS:
                    command = dry_run(uv, pins, python, platform, target)
                    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
                    if done.returncode:
                        faults.append(f"{pins}, Python {python}, {platform}:\n{done.stderr}")
                print(f"{pins}: {platform}, Python {', '.join(PYTHONS)}", flush=True)
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--uv", default="uv", help="the uv program (default: the one on PATH)")
    uv = parser.parse_args().uv
    if shutil.which(uv) is None:
        print(f"No program {uv!r}. Install it with: make own-uv", file=sys.stderr)
        return 2
    faults = without_wheels(uv)
    print("\n".join(faults) if faults else "Every pin has a wheel.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
