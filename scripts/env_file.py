"""The settings of a person and of this project that make's verbs read: `.env`, and one line of the
Dockerfile.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PROJECT_DIR = "DBT_PROJECT_DIR"
_IN_DOCKERFILE = re.compile(rf'^ENV {PROJECT_DIR}="?(.*?)"?\n', re.MULTILINE)


def load_settings(root: Path) -> None:
    """Set the variables of .env. What names the project's folder is the Dockerfile's, if .env is
    silent: git ignores .env, and the folder is the same in each clone.
    """
    load_env_file(root / ".env")
    dockerfile = root / "Dockerfile"
    named = _IN_DOCKERFILE.search(dockerfile.read_text()) if dockerfile.exists() else None
    if named:
        os.environ.setdefault(PROJECT_DIR, named[1])


def load_env_file(file: Path) -> None:
    """Set the variables of the .env file, if there is one. A variable that is exported stays.

    A line is read as the Astro CLI reads it: NAME=VALUE, the value quoted or not.
    """
    lines = file.read_text().splitlines() if file.exists() else []
    for name, equals, value in (line.strip().partition("=") for line in lines):
        if equals and not name.startswith("#"):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            os.environ.setdefault(name, value[1:-1] if quoted else value)


def name_project(root: Path, folder: str) -> list[str]:
    """Has .env and the Dockerfile name the project's folder, or not if that is the default (an
    empty text). Returns the names of the files that were changed.
    """
    texts = {
        ".env": _in_env_file(_read(root / ".env"), folder),
        "Dockerfile": _in_dockerfile(_read(root / "Dockerfile"), folder),
    }
    changed = [name for name, text in texts.items() if text != _read(root / name)]
    for name in changed:
        (root / name).write_text(texts[name])
    return changed


def _in_env_file(text: str, folder: str) -> str:
    kept = [line for line in text.splitlines() if not line.startswith(f"{PROJECT_DIR}=")]
    lines = [*kept, f"{PROJECT_DIR}={folder}"] if folder else kept
    return "".join(f"{line}\n" for line in lines) if lines != text.splitlines() else text


def _in_dockerfile(text: str, folder: str) -> str:
    """One line in each stage: the first builds the manifest, the last one runs dbt."""
    kept = _IN_DOCKERFILE.sub("", text)
    line = f'ENV {PROJECT_DIR}="{folder}"\n'
    return (
        re.sub(r"^FROM .*\n", lambda found: found[0] + line, kept, flags=re.M) if folder else kept
    )


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""
