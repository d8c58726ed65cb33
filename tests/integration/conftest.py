"""A local Airflow and Postgres in a folder of their own, away from the person's `.airflow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from installation import finish, start

from include import settings
from scripts.local.places import Places, places

STUB_DBT = f"""\
#!/bin/sh
# Stands in for dbt where a test is about Airflow. To compile is still dbt's.
case "$1" in compile|parse|deps|ls) exec "{settings.load().dbt}" "$@";; esac
echo "dbt $*"
case "$*" in *"$STUB_FAILS"*) exit 1;; esac
exec sleep "${{STUB_SLEEPS:-0}}"
"""


@pytest.fixture(scope="session")
def stub_dbt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which tasks run a stand-in for dbt that takes no time.

    STUB_SLEEPS is the seconds that it takes, STUB_FAILS what the arguments of one that fails hold.
    """
    program = tmp_path_factory.mktemp("stub") / "dbt"
    program.write_text(STUB_DBT)
    program.chmod(0o755)
    return {"DBT_EXECUTABLE": str(program), "STUB_FAILS": "none of them", "DBT_RETRIES": "0"}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """The places of an installation that the tests of one file share, stopped at their end."""
    # A space, and a path longer than a Unix socket may have.
    state = tmp_path_factory.mktemp("state") / f"a {'long ' * 20}path"
    yield places(str(state))
    start("down", at=places(str(state))).wait(timeout=60)


@pytest.fixture
def local(at: Places) -> Callable[..., tuple[int, str]]:
    """Carry out a verb: `local("run", environment)` returns its exit code and output."""

    def carry_out(*arguments: str, environment: Mapping[str, str] | None = None):
        return finish(start(*arguments, at=at, environment=environment))

    return carry_out
