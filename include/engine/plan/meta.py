"""`meta.airflow` of a dbt resource: arguments of its tasks, in dbt's own YAML.

Folders pass it on as they do with any `meta`:

    models:
      - name: orders
        config:
          meta:
            airflow:
              pool: heavy
              retries: 4
              test: {retries: 0, execution_timeout: PT10M}

Keys under `run` or `test` are for that task alone, the others for both. plan/schedules.py reads the
keys about the node's DAG and asset.
"""

from __future__ import annotations

from collections.abc import Mapping

from include.engine.manifest.records import ManifestError, Node
from include.engine.plan.duration import parse_duration

SECTIONS = ("run", "test")

# What Airflow's database takes: a 4-byte integer, and the name of a pool or a queue.
_INTEGER = 2**31 - 1
_TEXT = 256

_DAG_KEYS_BY_TYPE = {"source": ("asset",), "test": (), "unit_test": ()}
DAG_KEYS = ("schedule", "dag", "asset")

# https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/dags.html#trigger-rules
TRIGGER_RULES = (
    *("all_done", "all_done_min_one_success", "all_failed", "all_skipped", "all_success"),
    *("always", "none_failed", "none_failed_min_one_success", "none_skipped"),
    *("one_done", "one_failed", "one_success"),
)


def operator_arguments(node: Node, section: str) -> dict[str, object]:
    """The keyword arguments of Airflow's operator for the task that runs or tests `node`, by name;
    durations are in seconds. `section` is one of SECTIONS.

    Raises ManifestError, naming the node, its file and what is allowed.
    """
    elsewhere = (*SECTIONS, *_dag_keys(node))
    common = {key: value for key, value in node.airflow.items() if key not in elsewhere}
    arguments = {} if node.owner is None else {"owner": node.owner}
    for keys in (common, node.airflow.get(section) or {}):
        if not isinstance(keys, Mapping):
            raise wrong_value(node, f"meta.airflow.{section}", keys, "a mapping of the same keys")
        arguments |= {key: _value(node, key, value) for key, value in keys.items()}
    return dict(sorted(arguments.items()))


def _value(node: Node, key: str, value: object) -> object:
    if key not in KEYS:
        known = ", ".join((*KEYS, *SECTIONS, *_dag_keys(node)))
        raise ManifestError(
            f"{node.unique_id} ({node.path}): meta.airflow has no key {key!r}. It takes: {known}."
        )
    allowed, words = KEYS[key]
    if not allowed(value):
        raise wrong_value(node, f"meta.airflow.{key}", value, words)
    return parse_duration(value) if allowed is parse_duration else value


def wrong_value(node: Node, key: str, value: object, words: str) -> ManifestError:
    """The error that `key` of `node` is `value`, and that it takes `words`."""
    return ManifestError(f"{node.unique_id} ({node.path}): {key} is {value!r}; it takes {words}.")


def _dag_keys(node: Node) -> tuple[str, ...]:
    return _DAG_KEYS_BY_TYPE.get(node.resource_type, DAG_KEYS)


def _whole(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _INTEGER


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _TEXT


KEYS = {
    "retries": (_whole, f"a whole number, at most {_INTEGER}"),
    "retry_delay": (parse_duration, "seconds, or a duration such as PT10M"),
    "execution_timeout": (parse_duration, "seconds, or a duration such as PT10M"),
    "pool": (_text, f"the name of a pool, at most {_TEXT} characters"),
    "pool_slots": (lambda value: _whole(value, 1), f"a whole number from 1 to {_INTEGER}"),
    "priority_weight": (lambda value: _whole(value, 1), f"a whole number from 1 to {_INTEGER}"),
    "queue": (_text, f"the name of a queue, at most {_TEXT} characters"),
    "executor": (_text, f"the name of an executor, at most {_TEXT} characters"),
    "owner": (_text, f"a name, at most {_TEXT} characters"),
    "executor_config": (lambda value: isinstance(value, Mapping), "a mapping"),
    "trigger_rule": (lambda value: value in TRIGGER_RULES, f"one of {', '.join(TRIGGER_RULES)}"),
}
