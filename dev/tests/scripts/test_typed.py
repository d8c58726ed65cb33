"""What a person types behind a verb of make arrives as it was typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from include.engine.settings import ROOT
from scripts.local.__main__ import arguments, params
from scripts.local.paths import LocalError

AWKWARD = (
    "select $$a$$",
    "$(shell touch expanded) ${HOME} $HOME $",
    """it's "quoted" \\ and \\" and \\$ and \\""",
    "one # two = three := four % * ~ ! `id` ; | & < > ?",
    "first line\nsecond line\\\nthird line\ttab",
    "-n --select",
    "ünïcode, (brackets) {braces}",
)


@pytest.fixture
def make(tmp_path):
    """Runs make, and returns the arguments that Python would be started with."""
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    stub = tmp_path / "python"
    stub.write_text(f"""#!/bin/sh\nexec "{sys.executable}" -c '{program}' "$@"\n""")
    stub.chmod(0o755)

    def run(*typed: str) -> list[str]:
        done = subprocess.run(
            ["make", "-s", "-o", "airflow-venv", "-o", "dbt-venv", f"AIRFLOW={stub}", *typed],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("value", AWKWARD)
def test_a_value_arrives_as_it_was_typed(make, value):
    local = ["-m", "scripts.local"]
    assert make("psql", f"SQL={value}") == [*local, "psql", f"--sql={value}"]
    assert make("dbt", f"ARGS={value}") == [*local, "dbt", "--", value]
    run = [*local, "run", f"--dag={value}", f"--select={value}"]
    assert make("run", f"SELECT={value}", f"DAG={value}") == run
    run = [*local, "run", f"--exclude={value}", f"--vars={value}", "--full-refresh"]
    assert make("run", f"VARS={value}", f"EXCLUDE={value}", "FULL_REFRESH=1") == run
    assert not Path(ROOT, "expanded").exists()


def test_what_is_not_typed_is_not_passed_on(make):
    assert make("psql") == ["-m", "scripts.local", "psql"]
    assert make("run", "SELECT=", "FULL_REFRESH=0") == ["-m", "scripts.local", "run"]


def test_what_is_typed_becomes_params_of_the_run():
    assert params(arguments(["run"])) == {}
    typed = ["run", "--select=orders+", "--exclude=a b", "--full-refresh", '--vars={"a": "$$"}']
    assert params(arguments(typed)) == {
        "select": "orders+",
        "exclude": "a b",
        "full_refresh": True,
        "vars": {"a": "$$"},
    }


@pytest.mark.parametrize("text", ["1", "{", "a: 1"])
def test_variables_that_are_no_object_are_refused_with_an_example(text):
    with pytest.raises(LocalError) as error:
        params(arguments(["run", f"--vars={text}"]))
    expected = f"""VARS is {text!r}; it takes JSON, as in: make run VARS='{{"a": 1}}'"""
    assert str(error.value) == expected
