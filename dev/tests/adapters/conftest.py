"""An environment of its own for each adapter, made of the pins in dev/adapters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from include.engine import settings

PINS = settings.ROOT / "dev" / "adapters"
FOLDER = settings.ROOT / ".airflow" / "adapters"


@pytest.fixture(scope="session")
def dbt_of() -> Callable[[str], Path]:
    """The dbt that has the adapter of that name. It is installed where it is missing."""

    @cache
    def make(adapter: str) -> Path:
        script = settings.ROOT / "scripts" / "venv.py"
        folder = FOLDER / adapter
        command = [sys.executable, str(script), str(folder), str(PINS / f"{adapter}.txt")]
        subprocess.run(command, cwd=settings.ROOT, check=True)
        return folder / "bin" / "dbt"

    return make
