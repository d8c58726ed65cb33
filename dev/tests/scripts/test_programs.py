"""Which PostgreSQL the local Airflow runs on: that of the wheel, or the one that POSTGRES names."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local import postgres, programs
from scripts.local.environment import load_secrets
from scripts.local.paths import LocalError, Paths

OLDER = programs.program("postgres").parents[2] / "pginstall"
"""The other PostgreSQL of the wheel."""

BUILTIN = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
FOR_EVERY_VERSION = {
    "listen_addresses": "",
    "max_connections": "200",
    "synchronous_commit": "off",
    "idle_in_transaction_session_timeout": "4min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
CHECK = {"client_connection_check_interval": "2s"}
ROUNDS = {"scram_iterations": "1"}


def name_postgres(folder: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has POSTGRES name a folder whose server says that of its version."""
    program = folder / "bin" / "postgres"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("POSTGRES", str(folder))


@pytest.mark.parametrize(
    ("said", "version", "newer", "locale"),
    [
        ("12.6", 12, {}, ["--locale=C"]),
        ("13.21 (Debian 13.21-0+deb11u1)", 13, {}, ["--locale=C"]),
        ("14.0", 14, CHECK, ["--locale=C"]),
        ("16.4", 16, CHECK | ROUNDS, ["--locale=C"]),
        ("17beta1", 17, CHECK | ROUNDS, BUILTIN),
    ],
)
def test_a_server_is_given_what_its_version_knows(
    tmp_path, monkeypatch, said, version, newer, locale
):
    name_postgres(tmp_path, f"postgres (PostgreSQL) {said}", monkeypatch)
    assert programs.version() == version
    assert programs.configuration() == FOR_EVERY_VERSION | newer
    assert programs.locale() == locale


def test_a_program_that_says_no_version_is_named(tmp_path, monkeypatch):
    name_postgres(tmp_path, "hello", monkeypatch)
    with pytest.raises(LocalError, match=f"^{tmp_path}/bin/postgres --version said no version"):
        programs.version()


def test_a_folder_without_the_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTGRES", str(tmp_path))
    with pytest.raises(LocalError) as raised:
        programs.program("psql")
    assert str(raised.value) == (
        f"There is no {tmp_path}/bin/psql. POSTGRES has to name a folder with bin/psql"
    )


def test_another_server_runs_and_its_data_is_not_given_to_that_of_the_wheel(tmp_path, monkeypatch):
    at = Paths(tmp_path, tmp_path / ".airflow")
    keys = load_secrets(at)
    with monkeypatch.context() as patch:
        patch.setenv("POSTGRES", str(OLDER))
        version = programs.version()
        postgres.start(at, keys, "test")
        try:
            with postgres.cursor(at, keys, "warehouse") as ask:
                ask.execute("show server_version_num")
                assert int(ask.fetchone()[0]) // 10000 == version
        finally:
            postgres.stop(at)
    assert version < programs.version()
    with pytest.raises(LocalError) as raised:
        postgres.start(at, keys, "test")
    assert str(raised.value) == (
        f".airflow/postgres was made by PostgreSQL {version} and the server is "
        f"{programs.version()}. Start with an empty one: make clean"
    )
