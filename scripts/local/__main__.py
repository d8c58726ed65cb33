"""`python -m scripts.local VERB`; the Makefile has a target for each verb."""

from __future__ import annotations

import argparse
import json
import os
import sys

import psycopg2

from include.engine.settings import SettingsError
from scripts.env_file import load_settings
from scripts.local import processes, verbs
from scripts.local.api import DAG_ID
from scripts.local.environment import HARMFUL_TO_POSTGRES
from scripts.local.paths import PROJECT, LocalError, installation_paths

INTERRUPTED = 130  # the exit code of a shell after Ctrl-C


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The verb and its options. `act` of the result carries the verb out."""
    parser = argparse.ArgumentParser(prog="python -m scripts.local", description=__doc__)
    parser.add_argument("--state", help="the folder that holds everything (default: .airflow)")
    parser.add_argument("--dags", help="the folder of the DAG files (default: dags)")
    verb = parser.add_subparsers(dest="verb", required=True)

    run = verb.add_parser("run", help=verbs.run.__doc__)
    run.add_argument("--timeout", type=float, default=3600, help="seconds the run may take (3600)")
    run.add_argument("--dag", default=DAG_ID, help=f"the DAG to run ({DAG_ID})")
    run.add_argument("--select", help="dbt's --select: other tasks are skipped")
    run.add_argument("--exclude", help="dbt's --exclude: these tasks are skipped")
    run.add_argument("--full-refresh", action="store_true", help="dbt's --full-refresh")
    run.add_argument("--vars", help="dbt's --vars: an object in JSON")
    run.set_defaults(
        act=lambda options, paths: verbs.run(paths, options.timeout, options.dag, params(options))
    )

    up = verb.add_parser("up", help=verbs.up.__doc__)
    up.add_argument("--port", type=int, default=8080, help="the first port to try (8080)")
    up.add_argument(
        "--executor", choices=("local", "celery"), default="local", help="who runs tasks"
    )
    up.add_argument("--workers", type=int, default=2, help="how many Celery workers (2)")
    up.set_defaults(act=lambda options, paths: verbs.up(paths, options.port, workers(options)))

    down = verb.add_parser("down", help=verbs.down.__doc__)
    down.set_defaults(act=lambda _, paths: verbs.down(paths))

    standalone = verb.add_parser("standalone", help=verbs.standalone.__doc__)
    standalone.set_defaults(act=lambda _, paths: verbs.standalone(paths))

    dbt = verb.add_parser("dbt", help=verbs.dbt.__doc__)
    dbt.add_argument("text", help="the arguments of dbt, quoted as for a shell")
    dbt.set_defaults(act=lambda options, paths: verbs.dbt(paths, options.text))

    psql = verb.add_parser("psql", help=verbs.psql.__doc__)
    psql.add_argument("--sql", help="a statement to execute, instead of asking for them")
    psql.set_defaults(act=lambda options, paths: verbs.psql(paths, options.sql))
    return parser.parse_args(argv)


def workers(options: argparse.Namespace) -> int:
    """The number of Celery workers: 0 for the LocalExecutor. Raises LocalError."""
    if options.executor == "local":
        return 0
    if options.workers < 1:
        raise LocalError(f"WORKERS is {options.workers}; it takes 1 or more")
    return options.workers


def params(options: argparse.Namespace) -> dict[str, object]:
    """The params of the run that `make run` triggers. Raises LocalError."""
    names = ("select", "exclude", "full_refresh", "vars")
    given = {name: value for name in names if (value := getattr(options, name))}
    return given | ({"vars": variables(given["vars"])} if "vars" in given else {})


def variables(text: str) -> dict[str, object]:
    """dbt's variables, from JSON. Raises LocalError if `text` is no object in JSON."""
    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise LocalError(f"""VARS is {text!r}; it takes JSON, as in: make run VARS='{{"a": 1}}'""")
    return decoded


def main() -> int:
    options = arguments()
    load_settings(PROJECT)
    processes.interruptible()
    for name in HARMFUL_TO_POSTGRES & os.environ.keys():
        del os.environ[name]  # this process has connections to Postgres, too
    try:
        return options.act(options, installation_paths(options.state, options.dags))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except (LocalError, SettingsError, OSError, psycopg2.Error) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
