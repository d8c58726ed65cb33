"""Without the provider of Kubernetes there is no such executor, and a pod in YAML does no harm."""

from __future__ import annotations

from include.engine.dag import pods


def test_a_pod_stays_a_mapping_without_the_provider():
    given = {"pod_override": {"spec": {"containers": [{"name": "base"}]}}, "other": 1}
    assert pods.executor_config("model.shop.orders", given) == given
