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

from dev.tests.celery import swapping
from dev.tests.executors import container, runs
from dev.tests.executors.cluster import Cluster, Pod, server
from dev.tests.image.astro import Project, eventually
from dev.tests.image.conftest import FIGURES
from dev.tests.scheduled.installation import write_project
from include.engine.settings import ROOT

COMPOSE = Path(__file__).with_name("pods.yml")
TEMPLATE = ROOT / "docs" / "kubernetes" / "pod_template.yaml"
OURS = {
    "s3://aws_default@your-bucket/": "s3://aws_default@bucket/",
    "http://your-api-server:8080": "http://api-server:8080",
    "runAsUser: 50000": "runAsUser: 12345",  # as OpenShift: the image does not know it
}
"""What differs here from the template in docs/."""

MIXED = {
    "models/here.sql": "select 1 as id",
    "models/away.sql": "select * from {{ ref('here') }}",
    "models/models.yml": """
models:
  - {name: here, config: {meta: {airflow: {executor: LocalExecutor}}}}
  - {name: away, config: {meta: {airflow: {executor: KubernetesExecutor}}}}
""",
}

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
def mixed(tmp_path_factory: pytest.TempPathFactory) -> swapping.Project:
    """A project whose models name the executor that runs them."""
    made = swapping.Project("mixed", tmp_path_factory.mktemp("mixed") / "dbt")
    write_project(made.folder, "mixed", MIXED)
    (made.folder / "profiles.yml").unlink()
    runs.build_manifest(made)
    return made


@pytest.fixture(scope="module")
def cluster(
    project: Project,
    projects: list[swapping.Project],
    mixed: swapping.Project,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster that runs pods on the network of the project's services."""
    logs = tmp_path_factory.mktemp("pods")
    volumes = {one.name: runs.volumes(one) for one in (*projects, mixed)}

    def start(pod: Pod) -> int:
        name = pod["metadata"]["annotations"]["run_id"].rpartition("_")[0]
        words = [*volumes[name], *container.arguments(pod, SECRETS)]
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
def started(project: Project, cluster: Cluster, by_local_executor: object) -> Iterator[Project]:
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


def in_pods(
    project: Project, cluster: Cluster, projects: list[swapping.Project], where: str
) -> tuple[dict[str, runs.Ran], dict[str, dict[str, str]]]:
    """A run of each project; and, by project, the logs of its pods by task id."""
    done = runs.everything(
        project, projects, where, lambda name: ask_store(project, f"/bucket/dbt/runs/{name}")
    )
    pods = {one.name: cluster.names_by_task(f"{one.name}_{where}") for one in projects}
    made = {name for names in pods.values() for name in names.values()}
    eventually(lambda: made <= cluster.seconds.keys(), 60, lambda: "A pod goes on")
    for run, names in pods.items():
        seconds = [cluster.seconds[name] for name in names.values()]
        FIGURES.append(f"  {run}: {len(names)} pods, {statistics.median(seconds):.1f} s (median)")
    return done, {
        run: {task: (cluster.logs / name).read_text() for task, name in names.items()}
        for run, names in pods.items()
    }


@pytest.fixture(scope="module")
def first(started: Project, cluster: Cluster, projects: list[swapping.Project]):
    """A run of the sample that finds no parsed manifest."""
    return in_pods(started, cluster, projects[:1], "pods-first")


@pytest.fixture(scope="module")
def later(started: Project, cluster: Cluster, projects: list[swapping.Project], first: object):
    """A run of the sample that finds that of the first one."""
    return in_pods(started, cluster, projects[:1], "pods-later")


@pytest.fixture(scope="module")
def generated(started: Project, cluster: Cluster, projects: list[swapping.Project], later: object):
    """Runs of the other projects."""
    return in_pods(started, cluster, projects[1:], "pods")


def test_a_pod_for_each_task_leaves_what_the_local_executor_leaves(
    by_local_executor, first, generated
):
    assert runs.left(first[0] | generated[0]) == runs.left(by_local_executor)


def test_a_model_may_name_its_executor(started, cluster, mixed):
    (ran,), (pods,) = (found.values() for found in in_pods(started, cluster, [mixed], "pods"))
    assert set(ran.left["results"].values()) == {"success"}
    assert ran.left["states"].keys() - pods.keys() == {"model.tiny.here"}
    assert pods.keys() == {"check_dbt", "model.tiny.away", "run_results"}


def test_planted_failures_have_failed(by_local_executor):
    failed = {
        name
        for name, ran in by_local_executor.items()
        if {"fail", "error"} & set(ran.left["results"].values())
    }
    assert failed == by_local_executor.keys() - {"sample"}
    assert set(by_local_executor["sample"].left["states"].values()) == {"success"}


def test_each_task_had_a_pod_of_its_own_that_is_gone(started, cluster, first, generated):
    ran, logs = first[0] | generated[0], first[1] | generated[1]
    worked = {
        name: {task for task, found in one.tasks.items() if found["state"] in ("success", "failed")}
        for name, one in ran.items()
    }
    assert {name: set(pods) for name, pods in logs.items()} == worked
    assert cluster.pods == {}
    assert started.docker("ps", "--quiet", "--filter", "name=dbt-dag").stdout == ""


def test_dbt_is_cold_in_a_pod_and_says_why(first):
    ran, logs = first[0]["sample"], first[1]["sample"]
    said = {task for task, log in logs.items() if "dbt starts cold: one task per pod" in log}
    assert said == {name for name, task in ran.tasks.items() if task["operator"] in BY_DBT}


def test_a_project_is_parsed_in_the_first_pod_alone(by_local_executor, first, later):
    assert runs.left(later[0]) == {"sample": by_local_executor["sample"].left}
    assert [task for task, log in first[1]["sample"].items() if PARSES in log] == ["check_dbt"]
    assert [task for task, log in later[1]["sample"].items() if PARSES in log] == []
