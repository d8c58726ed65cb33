"""Ctrl-C while tasks are at work; the earlier moments are in test_verbs.py."""

from __future__ import annotations

import signal
import time

from dev.tests.scheduled.installation import finish, processes_of, start, wait_for


def test_an_interrupt_in_the_middle_of_a_run_leaves_nothing_running(at, stub_dbt):
    process = start("run", at=at, environment=stub_dbt | {"STUB_SLEEPS": "60"})
    wait_for("==> Running", process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    code, output = finish(process, timeout=60)
    assert (code, output.splitlines()[-1]) == (130, "Interrupted.")
    assert processes_of(at) == []
