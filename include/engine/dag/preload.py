"""What the process of each task needs, made once in the process that tasks are forked from.

With the LocalExecutor that is the scheduler. A task then finds the engine's modules imported and
the texts of the project's profile compiled; otherwise it does both for itself, in 20 ms.
"""

from __future__ import annotations

import contextlib
import logging
import os

from airflow.configuration import conf

from include.engine import settings
from include.engine.dag import build  # noqa: F401 (imports what a task imports)
from include.engine.run import executors
from include.engine.run.process import start_warm_dbt
from include.engine.warehouse.profile import choose_profile

log = logging.getLogger(__name__)


def preload() -> None:
    """Compiles what tasks will render. Starts the warm dbt where it is not to end (DBT_WARM_IDLE=0)
    and tasks run on this machine.

    Nothing is raised: what cannot be done here, each task does for itself.
    """
    try:
        config = settings.load()
        with contextlib.suppress(Exception):  # a variable that only a task's environment has
            choose_profile(config, None, os.environ)
        for_ever = os.environ.get("DBT_WARM_IDLE") == "0"
        if config.warm and for_ever and not executors.run_elsewhere(conf.get("core", "executor")):
            start_warm_dbt(config.dbt_executable, os.environ)
    except Exception:
        log.warning("Tasks have to prepare for themselves", exc_info=True)
