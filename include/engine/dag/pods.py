"""What dbt's YAML says of a task's pod, as Airflow's KubernetesExecutor takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

POD = "pod_override"


def executor_config(task_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, from YAML, with its `pod_override` as an object of the Kubernetes client.

    The executor refuses a mapping there. Without its provider there is no such executor, and the
    mapping stays. Raises ManifestError, naming the task, if it describes no pod.
    https://airflow.apache.org/docs/apache-airflow-providers-cncf-kubernetes/stable/kubernetes_executor.html#pod-override
    """
    if not isinstance(given.get(POD), Mapping):
        return dict(given)
    try:
        from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    except ImportError:
        return dict(given)
    try:
        return {**given, POD: PodGenerator.deserialize_model_dict(given[POD])}
    except (ValueError, TypeError, AttributeError) as error:
        from include.engine.manifest.records import ManifestError  # most task processes need none

        raise ManifestError(
            f"{task_id}: meta.airflow.executor_config.{POD} is no pod of Kubernetes: {error}"
        ) from None
