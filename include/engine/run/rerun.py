"""The line that a person pastes into a shell to repeat what a task ran."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def shell_line(argv: Sequence[str], by_make: bool) -> str:
    """The line that runs dbt with `argv`, the warehouse and the paths of the tasks.

    It works in the project's folder: with `by_make` where the local Airflow of `make up` runs, else
    where the environment is that of the tasks, as in a container of the image.
    """
    arguments = shlex.join(argv)
    if by_make:
        return f"make dbt ARGS={shlex.quote(arguments)}"
    return f"python -m include.engine.run.dbt {arguments}"
