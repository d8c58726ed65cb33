"""The launcher of the warm dbt, where its file has lost the execute bit."""

from __future__ import annotations

import os
import shutil
import subprocess

from include.engine import settings
from include.engine.run import environment


def test_the_launcher_needs_no_execute_bit(tmp_path, monkeypatch):
    """It refuses what the real dbt would do wrong."""
    beside = tmp_path / "it's beside" / "dbt"
    beside.parent.mkdir()
    shutil.copyfile(environment.WARM / "dbt", beside)
    monkeypatch.setattr(environment, "WARM", beside.parent)
    real = tmp_path / "dbt"
    real.write_text("#!/bin/sh\necho built all\n")
    real.chmod(0o755)
    config = settings.load({"DBT_EXECUTABLE": str(real)})
    paths = environment.local_paths(config, tmp_path / "try", os.environ["PATH"])
    ran = subprocess.run(
        ["bash", "-c", "dbt build --select 'a b'"],
        env=os.environ | paths | {"DBT_WARM": "false", "DBT_HOOKS": "on-run-end"},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("dbt cannot run on-run-end hooks alone: DBT_WARM is")


def test_an_executable_launcher_is_used_as_it_is(tmp_path):
    assert environment.launcher(tmp_path) == environment.WARM
    assert list(tmp_path.iterdir()) == []
