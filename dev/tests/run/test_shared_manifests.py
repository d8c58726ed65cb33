"""Parsed manifests go from one machine to others, and only signed ones come back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from airflow.sdk.io import attach
from cryptography.fernet import Fernet
from fsspec.implementations.memory import MemoryFileSystem

from include.engine import settings
from include.engine.inside import store
from include.engine.run import environment, shared_manifests

KEY = Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)


@pytest.fixture(params=["folder", "address"])
def place(request, tmp_path):
    """A folder that others can enter, and an address."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return str(folder) if request.param == "folder" else f"file://{folder}"


def config(tmp_path, **variables):
    return settings.load({"DBT_MANIFEST": str(tmp_path / "m" / "manifest.json"), **variables})


def parsed(place, name="a", content=b"pickled"):
    """As dbt's process leaves it."""
    store.save(shared_manifests.own_copy(place), name * 32, {}, content)


def here(place):
    folder = shared_manifests.own_copy(place)
    return sorted(store.load(folder, name * 32, str) or () for name in "ab")


def another_machine(place):
    shutil.rmtree(shared_manifests.own_copy(place))


def files(tmp_path):
    return sorted((tmp_path / "shared").iterdir())


def test_what_one_machine_parsed_another_one_has(place, tmp_path):
    parsed(place)
    shared_manifests.publish(place)
    another_machine(place)
    shared_manifests.fetch(place)
    assert here(place) == [(), (b"pickled", [])]
    before = files(tmp_path)[0].stat().st_mtime_ns
    shared_manifests.publish(place)
    assert files(tmp_path)[0].stat().st_mtime_ns == before, "what was fetched is not written again"


def test_store_that_is_no_file_system():
    """As `s3://`: what is there is listed, read, written and removed by its client alone."""
    attach("memory", "apart", fs=MemoryFileSystem())  # not the one of other tests
    place = "memory://apart@bucket/parsed"
    for i in range(store.KEPT + 1):
        parsed(place, f"{i:x}")
        shared_manifests.publish(place)
    assert len(shared_manifests.newest_first(place)) == store.KEPT
    another_machine(place)
    shared_manifests.fetch(place)
    with store.opened(shared_manifests.own_copy(place)) as own:
        assert len(store.names(own)) == store.KEPT


def test_publishing_is_once(place, tmp_path):
    parsed(place)
    shared_manifests.publish(place)
    for file in files(tmp_path):
        file.unlink()
    shared_manifests.publish(place)
    assert files(tmp_path) == []
    parsed(place, "b")
    shared_manifests.publish(place)
    assert [file.name[0] for file in files(tmp_path)] == ["b"]


@pytest.mark.parametrize(
    "change",
    [
        lambda signed: signed[shared_manifests.SIGNATURE :],
        lambda signed: signed[:-1],
        lambda signed: signed[:10],
        lambda signed: b"",
        lambda signed: signed + b"x",
        lambda signed: signed[:-1] + bytes([signed[-1] ^ 1]),
        lambda signed: bytes([signed[0] ^ 1]) + signed[1:],
    ],
)
def test_file_without_a_true_signature_is_ignored(place, tmp_path, caplog, change):
    parsed(place)
    shared_manifests.publish(place)
    another_machine(place)
    (file,) = files(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    shared_manifests.fetch(place)
    assert here(place) == [(), ()]
    said = f"Ignores the parsed manifest {file.name}: it is not signed by a worker of this Airflow"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_file_of_another_airflow_is_ignored(place, monkeypatch):
    parsed(place)
    shared_manifests.publish(place)
    another_machine(place)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    shared_manifests.fetch(place)
    assert here(place) == [(), ()]


def test_fernet_key_that_is_rotated(place, monkeypatch):
    """The old one still verifies, and the new one signs."""
    parsed(place)
    shared_manifests.publish(place)
    another_machine(place)
    new = Fernet.generate_key().decode()
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", f"{new},{KEY}")
    shared_manifests.fetch(place)
    parsed(place, "b")
    shared_manifests.publish(place)
    another_machine(place)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", new)
    shared_manifests.fetch(place)
    assert here(place) == [(), (b"pickled", [])]


def test_without_a_fernet_key_nothing_is_shared(place, tmp_path, monkeypatch, caplog):
    parsed(place)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "")
    shared_manifests.publish(place)
    assert files(tmp_path) == []
    reason = "Airflow has no fernet key ([core] fernet_key) to sign it with"
    said = f"No parsed manifest is written to {place}: {reason}"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_place_that_is_not_there_is_a_line_in_the_log(tmp_path, caplog):
    place = "nothing://bucket/parsed"
    parsed(place)
    shared_manifests.fetch(place)
    shared_manifests.publish(place)
    said = [record.getMessage().partition(":// ")[0] for record in caplog.records]
    assert [line.split(" from ")[0].split(" to ")[0] for line in said] == [
        "No parsed manifest is read",
        "No parsed manifest is written",
    ]


def test_shared_place_does_not_grow(place, tmp_path):
    for i in range(store.KEPT + 3):
        parsed(place, f"{i:x}")
        shared_manifests.publish(place)
        os.utime(files(tmp_path)[-1], (i, i))
    assert len(files(tmp_path)) == store.KEPT


def test_folder_of_dbt_is_beside_the_manifest(tmp_path):
    local = shared_manifests.local_folder(config(tmp_path))
    assert local == str(tmp_path / "m" / "parsed")
    assert Path(local).stat().st_mode & 0o777 == 0o700
    assert shared_manifests.shared_place(config(tmp_path)) == ""


def test_folder_of_dbt_is_with_the_runs_if_others_can_enter_the_first(tmp_path):
    (tmp_path / "m" / "parsed").mkdir(parents=True)
    (tmp_path / "m" / "parsed").chmod(0o755)
    local = shared_manifests.local_folder(config(tmp_path, DBT_RUNS=str(tmp_path / "runs")))
    assert local == str(tmp_path / "runs" / ".parsed")
    assert shared_manifests.local_folder(config(tmp_path, DBT_RUNS="s3://bucket/runs")) == ""


def test_folder_of_ones_own_is_used_as_it_is(tmp_path):
    chosen = config(tmp_path, DBT_MANIFEST_CACHE=str(tmp_path / "own"))
    assert shared_manifests.local_folder(chosen) == str(tmp_path / "own")
    assert shared_manifests.shared_place(chosen) == ""


def test_dbt_gets_a_folder_and_no_key(place, tmp_path):
    chosen = config(tmp_path, DBT_MANIFEST_CACHE=place)
    assert shared_manifests.shared_place(chosen) == place
    given = environment.local_paths(chosen, tmp_path, "/bin")
    assert given["DBT_MANIFEST_CACHE"] == shared_manifests.own_copy(place)
    secrets = [KEY, *(key.hex() for key in shared_manifests.signing_keys())]
    assert not any(secret in value for secret in secrets for value in given.values())
    assert environment.local_paths(chosen._replace(warm=False), tmp_path, "/bin") == given
