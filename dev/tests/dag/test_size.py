"""What the DAG file costs is counted here, not timed: it grows as the graph does, not faster."""

from __future__ import annotations

import gc
import json
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from dev.tests import sample
from dev.tests.conftest import in_task_process, serialized
from dev.tests.manifest.test_records import by_id, member, raw
from include.engine.plan import cache

FILE = str(sample.DAGS / "dbt_dag.py")
SIZES = (30, 60, 120)
WARM_UP = 10
"""Models of a project that is read before anything is counted, so that no import is."""
WALKS = {"DAG.__hash__", "DAG.task_ids", "DAG.tasks", "DAG.topological_sort"}
"""What goes over all tasks of a DAG each time it is called."""


def write(path: Path, models: int) -> Path:
    """A manifest of so many models, each with two parents and two tests, one of which also reads a
    sibling of its model: to double the models is to double the graph.
    """
    names = [f"model.shop.m{number:04d}" for number in range(models)]
    nodes = {}
    for number, name in enumerate(names):
        above = [names[number - back] for back in (10, 13) if number >= 13]
        siblings = [names[number - 1]] if number else []
        nodes |= by_id(
            member(name, depends_on={"nodes": above}, fqn=["shop", f"f{number % 9}", name[11:]]),
            member(f"test.shop.t{number}.0", depends_on={"nodes": [name]}),
            member(f"test.shop.u{number}.0", depends_on={"nodes": [name, *siblings]}),
        )
    path.parent.mkdir()
    path.write_text(json.dumps(raw(nodes=nodes)))
    return path


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> Path:
    """Manifests by their number of models, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("manifests")
    for models in (WARM_UP, *SIZES):
        write(folder / str(models) / "manifest.json", models)
        parse(folder, models)
    parse(folder, WARM_UP)
    parse(folder, WARM_UP, task="model.shop.m0000")
    return folder


def parse(manifests: Path, models: int, first: bool = False, task: str = "") -> DAG:
    """The DAG of so many models, `first` without a plan and else with one, or in a task process."""
    path = manifests / str(models) / "manifest.json"
    if first:
        path.with_name(cache.NAME).unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_MANIFEST", str(path))
        with in_task_process(task) if task else nullcontext():
            bag = DagBag(FILE)
    assert bag.import_errors == {}
    return bag.dags["dbt_dag"]


def calls(work: Callable[[], object]) -> Counter:
    """How often each function is called while `work` runs: Python's by qualified name, C's too."""
    found: Counter = Counter()

    def count(frame, event, argument):
        if event == "call":
            owner = type(frame.f_locals.get("self")).__name__
            found[f"{owner}.{frame.f_code.co_name}"] += 1
        elif event == "c_call":
            found[argument.__name__] += 1

    gc.collect()
    gc.disable()  # what it frees, and when, is not the work's doing
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


def peak(work: Callable[[], object]) -> int:
    """The bytes that `work` needs at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def per_model(costs: list[int]) -> list[float]:
    """What one more model costs, from each of SIZES to the next."""
    steps = zip(SIZES, SIZES[1:], costs, costs[1:], strict=False)
    return [(dear - cheap) / (large - small) for small, large, cheap, dear in steps]


@pytest.mark.parametrize("first", [True, False], ids=["that makes the plan", "that finds it"])
def test_a_parse_calls_as_many_functions_for_each_further_model(manifests, first):
    found = [calls(partial(parse, manifests, models, first)) for models in SIZES]
    among_few, among_many = per_model([counted.total() for counted in found])
    assert among_many == pytest.approx(among_few, rel=0.03)
    walks = [{name: counted[name] for name in WALKS} for counted in found]
    assert walks == [walks[0]] * len(SIZES)


def test_a_parse_needs_as_much_memory_for_each_further_model(manifests):
    found = [peak(partial(parse, manifests, models)) for models in SIZES]
    among_few, among_many = per_model(found)
    assert among_many == pytest.approx(among_few, rel=0.1)


def test_a_task_process_does_the_same_in_a_large_project_as_in_a_small_one(manifests):
    task = "model.shop.m0000"
    found = [calls(partial(parse, manifests, models, task=task)) for models in SIZES]
    assert found == [found[0]] * len(SIZES)


def test_the_serialized_dag_has_as_many_bytes_for_each_further_model(manifests):
    found = [len(serialized(parse(manifests, models))) for models in SIZES]
    among_few, among_many = per_model(found)
    assert among_many == pytest.approx(among_few, rel=0.03)


def test_an_unchanged_manifest_is_not_read_again(monkeypatch, tmp_path):
    """Its size, its time and its head say that it is the same: the rest may be anything."""
    path = write(tmp_path / "30" / "manifest.json", 30)
    before = serialized(parse(tmp_path, 30))
    state = path.stat()
    path.write_text(path.read_text()[:5000].ljust(state.st_size))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert serialized(parse(tmp_path, 30)) == before
    os.utime(path)
    monkeypatch.setenv("DBT_MANIFEST", str(path))
    assert ["is not JSON" in error for error in DagBag(FILE).import_errors.values()] == [True]
