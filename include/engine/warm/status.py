"""`status.py [stop]`: which warm servers this project has here, and what they do; or end them.

Needs no package. Looks in DBT_WARM_DIR or, if that is not set, in the default folder and in those
of `make up`.
"""

import glob
import json
import os
import sys
import time
from collections.abc import Iterator

CODE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 10.0  # seconds that a server may take to end


def main(words: list[str]) -> int:
    servers = {path: status for path in glob_files() if (status := read_status(path))}
    if not servers:
        print("No warm dbt is running.")
    for path, status in servers.items():
        print("\n".join(describe(path, status)))
    if words != ["stop"]:
        return 0
    return max((stop(path, status["pid"]) for path, status in servers.items()), default=0)


def glob_files() -> list[str]:
    default = [f"/tmp/dbt-warm-{os.getuid()}", *glob.glob(f"/tmp/dbt-airflow-{os.getuid()}-*/warm")]
    chosen = os.environ.get("DBT_WARM_DIR")
    folders = [chosen] if chosen else default
    return sorted(p for f in folders for p in glob.glob(os.path.join(glob.escape(f), "*.json")))


def read_status(path: str) -> dict:
    """What the server wrote of itself; {} if it has ended, or is not one of this checkout."""
    try:
        with open(path) as file:
            status = json.load(file)
        os.kill(status["pid"], 0)
    except (OSError, ValueError):
        return {}
    return status if status["code"] == CODE else {}


def describe(path: str, status: dict) -> Iterator[str]:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["since"]))
    yield f"server {status['pid']} of {status['venv']}, since {since}"
    yield f"  log          {path.removesuffix('.json')}.log"
    if "commands" not in status:
        yield "  is starting, or has had no quiet moment yet"
        return
    yield f"  commands     {status['commands']}"
    if status["refuses"]:
        yield f"  runs cold    {status['refuses']}"
    for manifest in status["manifests"]:
        yield f"  caches       {manifest}"
    if status["not_cached"]:
        yield f"  not cached   {status['not_cached']}"


def stop(path: str, pid: int) -> int:
    """Have a server end: one without its socket does, after the commands that have begun."""
    try:
        os.unlink(f"{path.removesuffix('.json')}.sock")
    except FileNotFoundError:
        pass
    end = time.monotonic() + PATIENCE
    while read_status(path).get("pid") == pid:
        if time.monotonic() > end:
            print(f"Server {pid} does not end. End it with: kill -9 {pid}")
            return 1
        time.sleep(0.1)
    print(f"Stopped server {pid}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
