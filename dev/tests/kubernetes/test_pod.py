"""The pod of a task: the template in docs/ and dbt's YAML, by Airflow's own generator."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_utils import (
    get_base_pod_from_template,
)
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.sdk import DAG
from kubernetes import client

from dev.tests.conftest import serialized
from dev.tests.tiny import manifest, node
from include.engine.dag import operators, pods
from include.engine.manifest.records import ManifestError
from include.engine.plan.dags import plan_dags
from include.engine.plan.records import Options
from include.engine.settings import ROOT, load

TEMPLATE = ROOT / "docs" / "kubernetes" / "pod_template.yaml"
HEAVY = {
    "spec": {
        "containers": [
            {"name": "base", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}},
        ],
        "nodeSelector": {"disk": "fast"},
    }
}


def unknown_keys(value: object, kind: str, path: str = "") -> Iterator[str]:
    """The paths in a document that are not in the Kubernetes API's description of `kind`."""
    if part := re.fullmatch(r"(list|dict(?:\(str, )?)\[?(.*?)[\])]", kind):
        members = value.values() if isinstance(value, dict) else value
        for member in members:
            yield from unknown_keys(member, part[2], path)
    elif model := getattr(client, kind, None):
        names = {key: name for name, key in model.attribute_map.items()}
        for key, member in value.items():
            if key not in names:
                yield f"{path}.{key}"
            else:
                yield from unknown_keys(member, model.openapi_types[names[key]], f"{path}.{key}")


def rendered(executor_config: dict) -> dict:
    """The pod that the KubernetesExecutor would ask for, as it goes to the API."""
    pod = PodGenerator.construct_pod(
        dag_id="dbt_dag",
        task_id="model.shop.orders",
        pod_id="dbt-dag-model-shop-orders-x",
        try_number=1,
        kube_image="registry/shop:1",
        date=None,
        args=["python", "-m", "airflow.sdk.execution_time.execute_workload"],
        pod_override_object=PodGenerator.from_obj(executor_config),
        base_worker_pod=get_base_pod_from_template(str(TEMPLATE), None),
        namespace="data",
        scheduler_job_id="1",
        run_id="r",
    )
    return client.ApiClient().sanitize_for_serialization(pod)


def test_the_template_has_only_keys_of_the_kubernetes_api():
    document = yaml.safe_load(TEMPLATE.read_text())
    assert list(unknown_keys(document, "V1Pod")) == []
    document["spec"]["containers"][0]["resource"] = {}
    document["metadata"]["labels"] = {"any": "label"}
    assert list(unknown_keys(document, "V1Pod")) == [".spec.containers.resource"]


def test_resources_in_dbts_yaml_reach_the_pod_and_the_template_gives_the_rest():
    pod = rendered(pods.executor_config("model.shop.orders", {"pod_override": HEAVY}))
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert pod["spec"]["restartPolicy"] == "Never"
    (container,) = pod["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "4Gi"}}
    assert container["image"] == "registry/shop:1"
    assert {
        entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]
    } == {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://your-api-server:8080/execution/",
        "USER": "astro",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "/tmp/logs",
        "AIRFLOW__CORE__FERNET_KEY": {
            "secretKeyRef": {"name": "your-fernet-key", "key": "fernet-key"}
        },
        "AIRFLOW_CONN_WAREHOUSE": {"secretKeyRef": {"name": "warehouse", "key": "connection"}},
        "DBT_RUNS": "s3://aws_default@your-bucket/dbt/runs",
        "DBT_MANIFEST_CACHE": "s3://aws_default@your-bucket/dbt/parsed",
        "AIRFLOW_IS_K8S_EXECUTOR_POD": "True",
    }


def test_the_template_alone_is_the_pod_of_other_tasks():
    (container,) = rendered({})["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "768Mi"},
        "limits": {"memory": "1536Mi"},
    }


def test_a_task_of_the_dag_has_the_pod_of_its_model_and_the_dag_is_saved_with_it():
    orders = node(
        "model.shop.orders", airflow={"run": {"executor_config": {"pod_override": HEAVY}}}
    )
    (plan,) = plan_dags(manifest(orders), Options())
    dag = DAG("dbt_dag", schedule=None)
    operators.add_plan(dag, plan, load())
    pod = dag.get_task("model.shop.orders").executor_config["pod_override"]
    assert client.ApiClient().sanitize_for_serialization(pod) == HEAVY
    assert "4Gi" in serialized(dag)


def test_what_is_no_pod_is_an_error_that_names_the_task():
    with pytest.raises(ManifestError) as error:
        pods.executor_config("model.shop.orders", {"pod_override": {"spec": {"containers": [{}]}}})
    assert str(error.value).startswith(
        "model.shop.orders: meta.airflow.executor_config.pod_override is no pod of Kubernetes: "
    )
