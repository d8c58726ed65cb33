"""Each fault on two Celery workers: the run ends right, and nothing of the fault is left.

`make test-faults` runs them, as root: one of them mounts a disk. They take 11 minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.tests.faults.cluster import Cluster
from dev.tests.faults.seen import Run
from dev.tests.faults.table import BAD, TABLE, Fault
from dev.tests.sample import DAGS
from dev.tests.scheduled.installation import processes_of, wait_until
from scripts.local.paths import installation_paths


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("faults")
    cluster = Cluster(installation_paths(str(folder / "a state"), str(DAGS)))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
    assert processes_of(cluster.at) == []


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.slug)
def test_a_run_ends_right_and_nothing_is_left(fault: Fault, cluster: Cluster):
    run = Run(cluster, fault.slug)
    if fault.prepare:
        fault.prepare(cluster)
    try:
        meet(fault, run)
        require_right_end(fault, run)
        wait_until(lambda: run.left() == {}, 30, run.left)
        print(f"{fault.name}: {run.state()} after {run.seconds():.0f} s")
    finally:
        run.end()
        if fault.heal:
            fault.heal(cluster)


def meet(fault: Fault, run: Run) -> None:
    """Begin the run, have it meet the fault, and wait until it has ended."""
    run.begin()
    if fault.inflict:
        wait_until(lambda: run.at_work(BAD), found=run.history)
        fault.inflict(run.cluster)
    if fault.mend:
        wait_until(run.in_trouble, found=run.history)
        fault.mend(run.cluster)
    wait_until(run.has_ended, 240, run.history)


def require_right_end(fault: Fault, run: Run) -> None:
    """The run is green after its retries, or red and says why. Each try has begun its model once,
    alone, and has built it if Airflow calls the try a success, and only then.
    """
    assert run.state() == fault.state, run.history()
    assert fault.says in run.logs()
    noted = run.noted()
    assert set(noted.values()) <= {(1, True)}, run.history()
    built = {(model, number) for model, number, event in noted if event == "end"}
    successful = run.successful_tries()
    assert successful <= built, run.history()
    assert fault.unheard or built == successful, run.history()
