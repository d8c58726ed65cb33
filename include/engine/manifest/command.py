"""One dbt command of the manifest's build."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

from include.engine.settings import Settings


class BuildError(RuntimeError):
    """The manifest could not be built. The message says why, and what became of the last one."""


class Builder(NamedTuple):
    """What the commands of one build have in common. `folder` is their target folder."""

    config: Settings
    folder: Path
    profiles: Path
    environment: Mapping[str, str]


def run_dbt(builder: Builder, *argv: str) -> subprocess.CompletedProcess:
    """Runs dbt and returns how it ended; all that it printed is `stdout`."""
    config = builder.config
    arguments = ["--project-dir", config.project_dir, "--profiles-dir", builder.profiles]
    if argv[0] != "deps":  # `dbt ls` writes a manifest, too: not over the compiled one
        target = builder.folder / "ls" if argv[0] == "ls" else builder.folder
        arguments += ["--target-path", target]
    if config.vars:
        arguments += ["--vars", json.dumps(config.vars)]
    return subprocess.run(
        [config.dbt_executable, *argv, *arguments, "--log-path", builder.folder],
        env=builder.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def require(builder: Builder, *argv: str) -> str:
    """Runs dbt and returns what it printed. Raises BuildError, with dbt's message, if it fails."""
    done = run_dbt(builder, *argv)
    if done.returncode:
        raise BuildError(failure(builder.config, argv, done))
    return done.stdout


def failure(config: Settings, argv: Sequence[str], done: subprocess.CompletedProcess) -> str:
    """What a person has to know of a command that failed."""
    kept = f" {config.manifest} is still the last good one." if config.manifest.exists() else ""
    return (
        f"{without_traceback(done.stdout)}\n"
        f"dbt {argv[0]} failed with exit code {done.returncode}.{kept}"
    )


def without_traceback(output: str) -> str:
    """dbt's output up to the traceback of its own code that follows some of its messages."""
    lines = output.splitlines()
    ends = (i for i, line in enumerate(lines) if "Traceback (most recent call last)" in line)
    return "\n".join(lines[: next(ends, len(lines))]).rstrip()


def why_not_compiled(output: str) -> str:
    """Why dbt cannot compile a project without a warehouse: which query asks it, or dbt's words."""
    reason = short_reason(output)
    if match := re.match(r"Runtime Error in (.+?\)) connection never acquired", reason):
        return f"{match[1]} asks the warehouse while dbt compiles it"
    return f"without a warehouse dbt does not compile this project ({reason})"


def short_reason(output: str) -> str:
    """In one line, what dbt says that it encountered."""
    lines = [line.strip() for line in without_traceback(output).splitlines()]
    begins = next((i for i, line in enumerate(lines) if "Encountered an error" in line), -1)
    words = [line for line in lines[begins + 1 :] if line and line != "Runtime Error"]
    return shorten(" ".join(words), width=200, placeholder=" ...") or "it says nothing"
