"""Names that Airflow does not take, and what is made of them."""

from __future__ import annotations

import pytest
from airflow.sdk.definitions._internal.node import validate_group_key, validate_key

from include.engine.plan import names


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("staging",), "staging"),
        (("staging", "jaffle_shop"), "staging__jaffle_shop"),
        (("日本語",), "日本語"),
        (("a", "b"), "a__b"),
        (("a__b",), "a__b__63e5c1c4"),
        (("a_", "b"), "a___b__4ba7030a"),
        (("_a",), "_a__34fb7160"),
        (("run_results",), "run_results__993a92f3"),
        (("Finance Reports (old)",), "Finance_Reports__old___3016b109"),
        (("v1.2",), "v1_2__0e4f5bce"),
    ],
)
def test_a_path_of_folders_is_a_group_id_of_its_own(folders, expected):
    assert names.group_id(folders) == expected
    validate_group_key(names.group_id(folders))


def test_a_long_path_is_cut_and_two_long_paths_stay_apart():
    paths = [(*("x" * 54,) * 5, last) for last in ("a", "b")]
    first, second = map(names.group_id, paths)
    assert first[:190] == second[:190] == "__".join(paths[0])[:190]
    assert first != second
    assert len(first) == len(second) == 200


def test_an_id_that_airflow_does_not_take_gets_a_hash():
    assert names.is_id("model.shop.日本語")
    assert not names.is_id("model.shop.a b")
    assert not names.is_id("x" * 241)
    assert not names.is_id("語" * 81)
    for name in ("model.shop.a b", "x" * 300, "語" * 300):
        validate_key(names.hashed_id(name, name))
        assert len(names.hashed_id(name, name)) <= 240


def test_a_uri_is_printable_ascii_and_no_url():
    assert names.uri_of_name("model.shop.orders") == "model.shop.orders"
    assert names.uri_of_name("source.shop.raw.http://é") == "source.shop.raw.http%3A//%C3%A9"
    assert names.ascii_uri("s3://b/a?x=1#é\n") == "s3://b/a?x=1#%C3%A9%0A"
    assert len(names.uri_of_name("é" * 1000)) == 1500
