"""The environment of the local Airflow's processes."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from urllib.parse import quote

from scripts.local.paths import LocalError, Paths
from scripts.local.ports import LOOPBACK
from scripts.local.postgres import PORT

# Each of these breaks a connection over a Unix socket that names host, port, user, password and
# database, or gives it another schema or encoding. All other variables of libpq may stay.
HARMFUL_TO_POSTGRES = frozenset(
    (
        *("PGCHANNELBINDING", "PGCLIENTENCODING", "PGGSSENCMODE", "PGHOSTADDR", "PGOPTIONS"),
        *("PGREQUIREAUTH", "PGREQUIREPEER", "PGSERVICE", "PGSSLCERTMODE", "PGSSLNEGOTIATION"),
        "PGTARGETSESSIONATTRS",
    )
)
# With these Python looks for its own modules elsewhere, or waits for input when a program ends.
_HARMFUL_TO_PYTHON = frozenset(
    ("PYTHONEXECUTABLE", "PYTHONHOME", "PYTHONINSPECT", "PYTHONPLATLIBDIR", "VIRTUAL_ENV")
)
_OF_ANOTHER_AIRFLOW = frozenset(("AIRFLOW_HOME", "AIRFLOW_CONFIG"))
HARMFUL = HARMFUL_TO_POSTGRES | _HARMFUL_TO_PYTHON | _OF_ANOTHER_AIRFLOW


def without_harmful(inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables of a person's shell that Airflow's processes keep: all but those in HARMFUL and
    settings of another Airflow. AIRFLOW_CONN_* and AIRFLOW_VAR_* are the person's own.
    """
    return {
        name: value
        for name, value in inherited.items()
        if name not in HARMFUL and not name.startswith("AIRFLOW__")
    }


def load_secrets(paths: Paths) -> dict[str, str]:
    """The passwords and keys of this installation: made on first use, for their owner only."""
    if paths.secrets.exists():
        try:
            return json.loads(paths.secrets.read_text())
        except ValueError:
            raise LocalError(
                f"{paths.display(paths.secrets)} is not JSON. Start again with: make clean"
            ) from None
    # 48 bytes become the 64 characters that Airflow wants of a key that signs its tokens.
    made = {name: secrets.token_urlsafe(48) for name in ("postgres", "warehouse", "jwt", "session")}
    made["fernet"] = base64.urlsafe_b64encode(os.urandom(32)).decode()
    paths.state.mkdir(parents=True, exist_ok=True)
    unfinished = paths.secrets.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(made))
    unfinished.rename(paths.secrets)
    return made


def airflow_environment(
    inherited: Mapping[str, str],
    paths: Paths,
    keys: Mapping[str, str],
    port: int,
    mode: str,
    cores: int,
) -> dict[str, str]:
    """The environment of Airflow's processes.

    `mode` is "run" (one triggered run, no schedule, each DAG file is parsed once) or "up" (Airflow
    as usual, which looks at DAG files every few seconds). Airflow's configuration reference
    describes every name that starts with AIRFLOW__.
    """
    url = f"http://{LOOPBACK}:{port}"
    return {
        **standalone_environment(inherited, paths, keys),
        "AIRFLOW_HOME": str(paths.airflow_home),
        "PYTHONPATH": str(paths.project),
        "PYTHONUNBUFFERED": "1",
        # Tasks reach the API server by HTTP: never through a proxy.
        **dict.fromkeys(("NO_PROXY", "no_proxy"), _no_proxy(inherited)),
        "DBT_BY_MAKE": "true",
        "AIRFLOW__CORE__DAGS_FOLDER": str(paths.dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # A DAG that has changed is saved at once: a run that is triggered now is a run of it.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__CORE__PARALLELISM": str(max(4, 2 * cores)),
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_url(paths, keys),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(paths.logs),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": keys["session"],
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        **(_one_run() if mode == "run" else _as_usual()),
    }


def standalone_environment(
    inherited: Mapping[str, str], paths: Paths, keys: Mapping[str, str]
) -> dict[str, str]:
    """What this project needs of any Airflow: the CLI's standalone mode brings the rest."""
    return {
        **without_harmful(inherited),
        "AIRFLOW_CONN_WAREHOUSE": inherited.get("AIRFLOW_CONN_WAREHOUSE") or warehouse(paths, keys),
        "DO_NOT_TRACK": "1",
        "DBT_WARM_DIR": str(paths.warm),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(paths.project / "plugins"),
        # As in the Dockerfile, which says why.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "15",
        "AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS": "True",
    }


def _one_run() -> dict[str, str]:
    return {
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    }


def _as_usual() -> dict[str, str]:
    return {
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
    }


def warehouse(paths: Paths, keys: Mapping[str, str]) -> str:
    """Airflow's connection to the embedded warehouse, as AIRFLOW_CONN_WAREHOUSE holds it."""
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": str(paths.postgres_socket),
            "port": PORT,
            "login": "warehouse",
            "password": keys["warehouse"],
            "schema": "warehouse",
        }
    )


def metadata_url(paths: Paths, keys: Mapping[str, str]) -> str:
    """SQLAlchemy's address of Airflow's metadata database, over the server's Unix socket."""
    socket = quote(str(paths.postgres_socket), safe="")
    password = quote(keys["postgres"], safe="")
    return f"postgresql+psycopg2://airflow:{password}@/airflow?host={socket}&port={PORT}"


def _no_proxy(inherited: Mapping[str, str]) -> str:
    given = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    return ",".join(filter(None, (given, "localhost", LOOPBACK)))
