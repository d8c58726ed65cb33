from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.engine import settings
from include.engine.manifest import find


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    return [tmp_path / name / "manifest.json" for name in ("shared", "image", "host")]


def make(place: Path, time: int) -> None:
    place.parent.mkdir(exist_ok=True)
    place.write_text("{}")
    os.utime(place, (time, time))


def config(places: list[Path]) -> settings.Settings:
    first, *more = map(str, places)
    return settings.load({"DBT_MANIFEST": first, "DBT_MORE_MANIFESTS": ", ".join(more)})


def test_the_newest_manifest_is_taken_whichever_place_it_is_in(places):
    make(places[1], 100)
    assert find.find_manifest(config(places)) == places[1]
    make(places[2], 200)
    assert find.find_manifest(config(places)) == places[2]
    make(places[0], 300)
    assert find.find_manifest(config(places)) == places[0]


def test_where_there_is_none_the_place_is_named_where_it_would_be_built(places):
    assert find.find_manifest(config(places)) == places[0]


def test_without_other_places_there_is_only_one(places):
    assert find.find_manifest(config(places[:1])) == places[0]
