"""The Docker container of a pod: what the pod says, as the arguments of `docker run`.

A key of the pod that means something for its container, and that no line here reads, is an error:
the containers of the tests have what the pod template says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]
Secrets = Mapping[tuple[str, str], str]
"""The values of secrets by (secret, key)."""

READ = {
    "spec": {"containers", "restartPolicy", "securityContext", "volumes"},
    "container": {"args", "env", "image", "name", "resources", "securityContext", "volumeMounts"},
    "security": {
        *("runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem"),
        *("allowPrivilegeEscalation", "capabilities"),
    },
}
SIZES = {"Ki": "k", "Mi": "m", "Gi": "g"}


def arguments(pod: Pod, secrets: Secrets) -> list[str]:
    """The words after `docker run`, but for its network."""
    spec = pod["spec"]
    (container,) = spec["containers"]
    security = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    require_read("spec", spec)
    require_read("container", container)
    require_read("security", security)
    return [
        *("--name", pod["metadata"]["name"]),
        *secured(security),
        *mounted(spec, container),
        *(
            word
            for entry in container.get("env", ())
            for word in ("--env", variable(entry, secrets))
        ),
        *limited(container.get("resources", {})),
        container["image"],
        *container["args"],
    ]


def require_read(what: str, given: Mapping[str, Any]) -> None:
    unread = given.keys() - READ[what]
    assert not unread, f"The stand-in for a cluster reads no {unread} of a pod's {what}"


def secured(security: Mapping[str, Any]) -> Iterator[str]:
    yield from ("--user", f"{security['runAsUser']}:{security.get('runAsGroup', 0)}")
    if security.get("readOnlyRootFilesystem"):
        yield "--read-only"
    if security.get("allowPrivilegeEscalation") is False:
        yield from ("--security-opt", "no-new-privileges")
    for name in security.get("capabilities", {}).get("drop", ()):
        yield from ("--cap-drop", name)


def mounted(spec: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    """An emptyDir is a folder that every user may write to, and goes with the pod."""
    empty = {volume["name"] for volume in spec.get("volumes", ()) if "emptyDir" in volume}
    for mount in container.get("volumeMounts", ()):
        assert mount["name"] in empty, mount
        yield from ("--tmpfs", f"{mount['mountPath']}:mode=0777,exec")


def variable(entry: Mapping[str, Any], secrets: Secrets) -> str:
    if "value" in entry:
        return f"{entry['name']}={entry['value']}"
    secret = entry["valueFrom"]["secretKeyRef"]
    return f"{entry['name']}={secrets[secret['name'], secret['key']]}"


def limited(resources: Mapping[str, Any]) -> Iterator[str]:
    """A request is for a cluster's scheduler; a limit is kept."""
    if memory := resources.get("limits", {}).get("memory"):
        yield from ("--memory", memory[:-2] + SIZES[memory[-2:]])
