"""Check that every pin has a wheel for each supported Python and platform.

A pin without a wheel is compiled on the user's machine: it takes minutes, needs a compiler and
often fails. Only metadata is downloaded. The check needs uv: pip evaluates `; python_version`
markers for the Python that it runs on, not for the one that it is asked about.

    python3 dev/check_wheels.py                 # about three minutes
    python3 dev/check_wheels.py --uv path/to/uv
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PINS = (
    "requirements-dbt.txt",
    "dev/requirements-dev.txt",
    "dev/requirements-browser.txt",
    "dev/requirements-celery.txt",
    "dev/requirements-kubernetes.txt",
    "dev/requirements-pods.txt",
    "dev/requirements-uv.txt",
    *sorted(
        str(file.relative_to(PROJECT))
        for folder in ("adapters", "dbt")
        for file in (PROJECT / "dev" / folder).glob("*.txt")
    ),
)
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# glibc 2.28 is Debian 10, RHEL 8 and everything younger; the Astro Runtime is Debian 12 or later.
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")

AT_ONCE = 4
# What only some warehouses need and has no wheel for some of these machines: pip compiles it there.
FROM_SOURCE = {
    "mmh3": "dbt-athena allows none that has wheels for Python 3.13 or later",
    "pure-sasl": "pure Python, and published as source only",
    "pyhive": "the same",
    "thrift": "the same",
    "snowflake-connector-python": "its wheels for Apple silicon need a macOS newer than 13",
}


def dry_run(uv: str, pins: str, python: str, platform: str, target: str) -> list[str]:
    """The uv command that resolves `pins` to wheels for a machine other than this one."""
    return [
        *(uv, "pip", "install", "--quiet", "--dry-run", "--no-deps", "--only-binary", ":all:"),
        *("--python-version", python, "--python-platform", platform),
        *("--target", target, "-r", pins),
    ]


def with_wheels(pins: str) -> str:
    """The lines of a file of pins; for an adapter, without those of FROM_SOURCE."""
    lines = (PROJECT / pins).read_text().splitlines(keepends=True)
    left_out = tuple(f"{name}==" for name in FROM_SOURCE) if "adapters" in pins else ("==",)
    return "".join(line for line in lines if not line.startswith(left_out))


def without_wheels(uv: str) -> list[str]:
    """One text for each combination that lacks a wheel, with uv's reason."""
    with tempfile.TemporaryDirectory() as target, ThreadPoolExecutor(AT_ONCE) as threads:

        def fault(combination: tuple[str, str, str]) -> str:
            pins, platform, python = combination
            done = subprocess.run(
                dry_run(uv, "-", python, platform, target),
                input=with_wheels(pins),
                capture_output=True,
                text=True,
            )
            return f"{pins}, Python {python}, {platform}:\n{done.stderr}" if done.returncode else ""

        faults = list(threads.map(fault, product(PINS, PLATFORMS, PYTHONS)))
    print(f"{len(PINS)} files of pins, {', '.join(PLATFORMS)}, Python {', '.join(PYTHONS)}")
    return list(filter(None, faults))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--uv", default="uv", help="the uv program (default: the one on PATH)")
    uv = parser.parse_args().uv
    if shutil.which(uv) is None:
        print(f"No program {uv!r}. Install it with: make own-uv", file=sys.stderr)
        return 2
    faults = without_wheels(uv)
    print("\n".join(faults) if faults else f"Every pin has a wheel, but {', '.join(FROM_SOURCE)}.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
