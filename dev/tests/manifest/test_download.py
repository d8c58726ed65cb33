"""A manifest at a URL, in a store of fsspec's that is held in memory, and in a file."""

from __future__ import annotations

import json
import logging
import os
import shutil
from typing import ClassVar

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from dev.tests.conftest import in_task_process, parsed
from include.engine import settings
from include.engine.manifest import download
from include.engine.manifest.records import ManifestError

URL = "memory://bucket/manifest.json"


class Store(MemoryFileSystem):
    """Says by its checksum what is in it, as S3 and GCS do by their etags, and counts requests."""

    requests: ClassVar[list[str]] = []

    def checksum(self, path):
        self.requests.append("compare")
        return hash(bytes(self.store[path].getbuffer()))


@pytest.fixture(scope="module")
def attached():
    """Airflow keeps the first store that is attached to a protocol."""
    store = Store(skip_instance_cache=True)
    attach("memory", fs=store)
    return store


@pytest.fixture
def store(attached, monkeypatch):
    put(attached, "one")
    read = ObjectStoragePath.read_bytes
    monkeypatch.setattr(
        ObjectStoragePath, "read_bytes", lambda self: attached.requests.append("read") or read(self)
    )
    yield attached
    attached.rm("/bucket", recursive=True)
    attached.requests.clear()


def put(store: Store, text: str) -> None:
    store.pipe_file("/bucket/manifest.json", text.encode())


def test_a_version_is_fetched_once_and_compared_each_time(store, tmp_path):
    assert download.local_copy(URL, cache=tmp_path).read_text() == "one"
    assert download.local_copy(URL, cache=tmp_path).read_text() == "one"
    assert store.requests == ["compare", "read", "compare"]


def test_a_new_version_is_taken_and_the_one_before_is_kept_for_who_reads_it(store, tmp_path):
    first = download.local_copy(URL, cache=tmp_path)
    put(store, "two")
    second = download.local_copy(URL, cache=tmp_path)
    assert (first.read_text(), second.read_text()) == ("one", "two")
    put(store, "three")
    assert download.local_copy(URL, cache=tmp_path).read_text() == "three"
    assert (first.exists(), second.exists()) == (False, True)


def test_a_task_process_asks_the_store_nothing_while_the_copy_is_young(
    store, tmp_path, monkeypatch
):
    download.local_copy(URL, cache=tmp_path)
    put(store, "two")
    store.requests.clear()
    assert download.local_copy(URL, may_be_old=True, cache=tmp_path).read_text() == "one"
    assert store.requests == []
    monkeypatch.setattr(download, "TASKS_COMPARE_AFTER", 0)
    assert download.local_copy(URL, may_be_old=True, cache=tmp_path).read_text() == "two"


def test_a_store_that_cannot_be_reached_leaves_the_last_copy_and_a_warning(
    store, tmp_path, monkeypatch, caplog
):
    download.local_copy(URL, cache=tmp_path)
    monkeypatch.setattr(store, "checksum", unreachable)
    with caplog.at_level(logging.WARNING):
        assert download.local_copy(URL, cache=tmp_path).read_text() == "one"
    assert f"The manifest at {URL} cannot be compared" in caplog.text


def unreachable(path):
    raise ConnectionError("no route")


def test_without_any_copy_it_is_an_error_that_names_the_url_and_the_reason(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(store, "checksum", unreachable)
    with pytest.raises(ManifestError) as error:
        download.local_copy(URL, cache=tmp_path)
    assert str(error.value).startswith(
        f"The manifest at {URL} cannot be fetched (ConnectionError: no route)."
    )


def test_a_fetch_that_breaks_off_leaves_nothing_behind(store, tmp_path, monkeypatch):
    monkeypatch.setattr(ObjectStoragePath, "read_bytes", lambda self: unreachable(self))
    with pytest.raises(ManifestError):
        download.local_copy(URL, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_each_url_and_user_has_a_folder_of_its_own_that_no_other_can_read(store, tmp_path):
    first, second = (download.cache_folder(url, tmp_path) for url in (URL, "s3://other/m.json"))
    assert first != second
    assert (first.stat().st_mode & 0o777, first.name.split("-")[2]) == (0o700, str(os.getuid()))


@pytest.fixture
def by_url(monkeypatch, tmp_path):
    """The project's manifest behind a file:// URL, and no other."""
    source = tmp_path / "store" / "manifest.json"
    source.parent.mkdir()
    shutil.copy(settings.load().manifest, source)
    monkeypatch.setenv("DBT_MANIFEST_URL", source.as_uri())
    monkeypatch.setenv("DBT_MANIFEST", str(tmp_path / "none.json"))
    monkeypatch.setattr(download.tempfile, "gettempdir", lambda: str(tmp_path))
    return source


def test_the_dag_is_made_from_the_manifest_at_the_url(by_url, dag):
    assert parsed().task_ids == dag.task_ids


def test_a_task_that_is_not_in_the_young_copy_is_looked_for_in_the_store(by_url):
    raw = json.loads(by_url.read_bytes())
    orders = raw["nodes"].pop("model.jaffle_shop.orders")
    by_url.write_text(json.dumps(raw))
    assert "model.jaffle_shop.orders" not in parsed().task_ids
    raw["nodes"]["model.jaffle_shop.orders"] = orders
    by_url.write_text(json.dumps(raw))
    with in_task_process("model.jaffle_shop.orders"):
        assert parsed().task_ids == ["model.jaffle_shop.orders"]


def test_a_url_without_a_scheme_is_an_import_error_that_names_the_setting(errors_with):
    (error,) = errors_with(DBT_MANIFEST_URL="bucket/manifest.json")
    assert "DBT_MANIFEST_URL is 'bucket/manifest.json'; it takes a URL such as s3://" in error
