"""A pod for each task leaves what the LocalExecutor leaves.

Airflow's own KubernetesExecutor, in the project's image, asks a stand-in for the Kubernetes API for
pods (cluster.py). Each is a new container of the image, as docs/kubernetes/pod_template.yaml says:
started by Airflow's `execute_workload`, with a read-only root, a user that the image does not know,
and nothing shared but the network. Results and parsed manifests go to an object store.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from dev.tests.executors import container, runs
from dev.tests.executors.cluster import Cluster, Pod, server
from dev.tests.image.astro import Project, eventually
from dev.tests.image.conftest import FIGURES
from include.engine.settings import ROOT

COMPOSE = Path(__file__).with_name("pods.yml")
TEMPLATE = ROOT / "docs" / "kubernetes" / "pod_template.yaml"
OURS = {
    "s3://aws_default@your-bucket/": "s3://aws_default@bucket/",
    "http://your-api-server:8080": "http://api-server:8080",
    "runAsUser: 50000": "runAsUser: 12345",  # as OpenShift: the image does not know it
}
"""What differs here from the template in docs/."""

BY_DBT = ("Check", "DbtOperator")  # the other operators start no dbt
PARSES = "Starting full parse."
WAREHOUSE = {"conn_type": "postgres", "host": "warehouse", "schema": "warehouse"}
SECRETS = {
    ("warehouse", "connection"): json.dumps(
        WAREHOUSE | {"login": "warehouse", "password": "warehouse"}
    ),
    # That of dev/tests/image/compose.yml.
    ("your-fernet-key", "fernet-key"): "d6Vefz3G9U_ynXB3cr7y_Ak35tAHkEGAVxuz_B-jzWw=",
}
AWS = {
    "connection_id": "aws_default",
    "conn_type": "aws",
    "login": "key",
    "password": "secret",
    "extra": json.dumps({"endpoint_url": "http://s3:5000", "region_name": "us-east-1"}),
}
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request,"
    " SignedHeaders=host, Signature=any"
}


@pytest.fixture(scope="module")
def cluster(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that runs pods on the network of the project's services."""
    logs = tmp_path_factory.mktemp("pods")

    def start(pod: Pod) -> int:
        words = container.arguments(pod, SECRETS)
        command = ["docker", "run", "--rm", "--network", f"{project.name}_airflow", *words]
        with (logs / pod["metadata"]["name"]).open("wb") as log:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            ).returncode

    def stop(name: str) -> None:
        project.docker("stop", "--time", "30", name, check=False)

    bridge = ("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    made = Cluster(start, stop, logs)
    with server(made, project.docker(*bridge).stdout.strip()) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        put_kubeconfig(project, "http://{}:{}".format(*api.server_address))
        yield made
        api.shutdown()


def put_kubeconfig(project: Project, address: str) -> None:
    """Put the address of the API into a folder that the scheduler can read."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "clusters": [{"name": "tests", "cluster": {"server": address}}],
        "users": [{"name": "tests", "user": {}}],
    }
    folder = project.folder / "include" / "kubernetes"
    folder.mkdir()
    (folder / "config").write_text(json.dumps(kubeconfig))


def put_template(project: Project) -> None:
    """Put the template beside it."""
    text = TEMPLATE.read_text()
    for theirs, ours in OURS.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    (project.folder / "include" / "kubernetes" / TEMPLATE.name).write_text(text)


def ask_store(project: Project, path: str, method: str = "GET") -> str:
    """What the object store answers. It wants a signature, and takes any."""
    port = project.compose("port", "s3", "5000").stdout.strip().rpartition(":")[2]
    asked = Request(f"http://127.0.0.1:{port}{path}", headers=SIGNED, method=method)
    with urlopen(asked, timeout=30) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def started(project: Project, cluster: Cluster) -> Iterator[Project]:
    """Airflow with the KubernetesExecutor, and an object store with an empty bucket."""
    made = replace(project, more=(COMPOSE,))
    put_template(made)
    try:
        runs.start(made)
        eventually(lambda: ask_store(made, "/bucket", "PUT") is not None, 60, lambda: "no store")
        made.api("connections", AWS, "POST")
        yield made
    finally:
        for name in list(cluster.pods):  # of a run that was broken off
            made.docker("rm", "--force", name, check=False)
        runs.end(made)


def in_pods(project: Project, cluster: Cluster, run_id: str) -> tuple[runs.Ran, dict[str, str]]:
    """A run, and the logs of its pods by task id."""
    done = runs.run(project, run_id, lambda name: ask_store(project, f"/bucket/dbt/runs/{name}"))
    names = cluster.names_by_task(run_id)
    seconds = [cluster.seconds[name] for name in names.values()]
    FIGURES.append(f"  {len(names)} pods of {statistics.median(seconds):.1f} s each (median)")
    return done, {task: (cluster.logs / name).read_text() for task, name in names.items()}


@pytest.fixture(scope="module")
def first(started: Project, cluster: Cluster) -> tuple[runs.Ran, dict[str, str]]:
    """A run that finds no parsed manifest."""
    return in_pods(started, cluster, "pods_first")


@pytest.fixture(scope="module")
def later(started: Project, cluster: Cluster, first: object) -> tuple[runs.Ran, dict[str, str]]:
    """A run that finds those of the first."""
    return in_pods(started, cluster, "pods_later")


def test_a_pod_for_each_task_leaves_what_the_local_executor_leaves(by_local_executor, first):
    assert set(by_local_executor.left["states"].values()) == {"success"}
    assert first[0].left == by_local_executor.left


def test_each_task_had_a_pod_of_its_own_that_is_gone(started, cluster, first):
    ran, logs = first
    assert logs.keys() == ran.tasks.keys()
    assert cluster.pods == {}
    assert started.docker("ps", "--quiet", "--filter", "name=dbt-dag").stdout == ""


def test_dbt_is_cold_in_a_pod_and_says_why(first):
    ran, logs = first
    said = {task for task, log in logs.items() if "dbt starts cold: one task per pod" in log}
    assert said == {name for name, task in ran.tasks.items() if task["operator"] in BY_DBT}


def test_a_project_is_parsed_in_the_first_pod_alone(by_local_executor, first, later):
    assert later[0].left == by_local_executor.left
    assert [task for task, log in first[1].items() if PARSES in log] == ["check_dbt"]
    assert [task for task, log in later[1].items() if PARSES in log] == []
