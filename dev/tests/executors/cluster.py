"""A stand-in for a Kubernetes cluster: its API for pods, and a Docker container for each pod.

Airflow's own KubernetesExecutor asks it for pods, watches them and deletes them. The API is as much
of the real one as the executor uses:
https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#pod-v1-core
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Pod = dict[str, Any]

PODS = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod"}
QUIET_SECONDS = 20  # less than the 30 that the executor waits for a word
DISCOVERY = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{**PODS, "verbs": ["create", "delete", "get", "list", "patch", "watch"]}],
    },
}


class Cluster:
    """The pods that there are, and all that happened to them. `start` runs the container of a pod
    and returns its exit code; `stop` ends it; its output is in a file of the folder `logs`.
    """

    def __init__(
        self, start: Callable[[Pod], int], stop: Callable[[str], object], logs: Path
    ) -> None:
        self.start = start
        self.stop = stop
        self.logs = logs
        self.pods: dict[str, Pod] = {}
        self.created: dict[str, Pod] = {}
        self.events: list[tuple[str, Pod]] = []
        self.changed = threading.Condition()
        self.seconds: dict[str, float] = {}
        """How long the container of each pod has run, by the pod's name."""

    def happen(self, kind: str, pod: Pod) -> Pod:
        """Write an event down. The number of events is the version of the pods."""
        with self.changed:
            pod["metadata"]["resourceVersion"] = str(len(self.events) + 1)
            self.events.append((kind, json.loads(json.dumps(pod))))
            self.changed.notify_all()
            return pod

    def create(self, pod: Pod, namespace: str) -> Pod:
        name = pod["metadata"]["name"]
        pod["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": namespace}
        pod["status"] = {"phase": "Pending"}
        self.pods[name] = self.created[name] = pod
        threading.Thread(target=self.run, args=(name,), daemon=True).start()
        return self.happen("ADDED", pod)

    def names_by_task(self, run_id: str) -> dict[str, str]:
        """By task id, the name of the last pod that the task of this run had."""
        known = {name: pod["metadata"]["annotations"] for name, pod in self.created.items()}
        return {it["task_id"]: name for name, it in known.items() if it["run_id"] == run_id}

    def run(self, name: str) -> None:
        """What a kubelet does with the pod."""
        pod = self.pods[name]
        pod["status"]["phase"] = "Running"
        self.happen("MODIFIED", pod)
        began = time.monotonic()
        code = self.start(pod)
        self.seconds[name] = time.monotonic() - began
        ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
        container = {"name": "base", "image": "", "imageID": "", "ready": False, "restartCount": 0}
        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [container | {"state": {"terminated": ended}}],
        }
        if name in self.pods:
            self.happen("MODIFIED", pod)

    def patch(self, name: str, body: Mapping[str, Any]) -> Pod | None:
        """The only patches are of labels and annotations."""
        if pod := self.pods.get(name):
            for part, values in body.get("metadata", {}).items():
                pod["metadata"].setdefault(part, {}).update(values)
            self.happen("MODIFIED", pod)
        return pod

    def delete(self, name: str) -> Pod | None:
        if pod := self.pods.pop(name, None):
            pod["metadata"]["deletionTimestamp"] = time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime()
            )
            self.happen("DELETED", pod)
            if pod["status"]["phase"] == "Running":
                self.stop(name)
        return pod

    def listed(self, selector: str) -> dict[str, Any]:
        with self.changed:
            found = [pod for pod in self.pods.values() if is_selected(pod, selector)]
            version = {"resourceVersion": str(len(self.events))}
            return {"kind": "PodList", "apiVersion": "v1", "metadata": version, "items": found}

    def watch(self, selector: str, seen: int) -> Iterator[tuple[str, Pod]]:
        """The events after the first `seen`, as they happen; for 0, first the pods that there are.

        It ends after a quiet while: the client has to ask again.
        """
        if not seen:
            present = self.listed(selector)
            seen = int(present["metadata"]["resourceVersion"])
            yield from (("ADDED", pod) for pod in present["items"])
        while new := self.events_after(seen):
            seen += len(new)
            yield from ((kind, pod) for kind, pod in new if is_selected(pod, selector))

    def events_after(self, seen: int) -> list[tuple[str, Pod]]:
        """The events after the first `seen`; none after a quiet while."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) > seen, QUIET_SECONDS)
            return self.events[seen:]


def is_selected(pod: Pod, selector: str) -> bool:
    """Whether a label selector of `=` and `!=` matches: `airflow-worker=1,done!=True`."""
    labels = pod["metadata"].get("labels", {})
    parts = re.findall(r"([^=!,]+)(!?=)([^,]*)", selector)
    return all((labels.get(key) == value) == (sign == "=") for key, sign, value in parts)


def server(cluster: Cluster, host: str) -> ThreadingHTTPServer:
    """The API of the cluster on a free port of that address. It does not serve yet."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        @property
        def name(self) -> str:
            return urlsplit(self.path).path.rpartition("/")[2]

        def body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")

        def answer(self, value: object, status: int = 200) -> None:
            if value is None:
                value, status = {"kind": "Status", "reason": "NotFound", "code": 404}, 404
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            namespace = self.path.split("/")[4]
            self.answer(cluster.create(self.body(), namespace), 201)

        def do_PATCH(self) -> None:
            self.answer(cluster.patch(self.name, self.body()))

        def do_DELETE(self) -> None:
            self.body()
            self.answer(cluster.delete(self.name))

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            if asked.get("watch", "").lower() == "true":
                self.watch(asked.get("labelSelector", ""), int(asked.get("resourceVersion", "0")))
            elif url.path.endswith("/pods"):
                self.answer(cluster.listed(asked.get("labelSelector", "")))
            else:
                self.answer(DISCOVERY.get(url.path.rstrip("/")) or cluster.pods.get(self.name))

        def watch(self, selector: str, seen: int) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has left
                for kind, pod in cluster.watch(selector, seen):
                    line = json.dumps({"type": kind, "object": pod}).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.write(b"0\r\n\r\n")

    return ThreadingHTTPServer((host, 0), Handler)
