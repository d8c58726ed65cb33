"""`python -m scripts.local VERB`; the Makefile has a target for each verb."""

from __future__ import annotations

import argparse
import sys

import psycopg2

from include.engine.settings import SettingsError
from scripts.local import processes, verbs
from scripts.local.api import DAG_ID
from scripts.local.paths import LocalError, installation_paths

INTERRUPTED = 130  # as a shell says of a command that Ctrl-C ended


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The verb and its options. `act` of what is returned carries it out."""
    parser = argparse.ArgumentParser(prog="python -m scripts.local", description=__doc__)
    parser.add_argument("--state", help="the folder that holds everything (default: .airflow)")
    parser.add_argument("--dags", help="the folder of the DAG files (default: dags)")
    verb = parser.add_subparsers(dest="verb", required=True)

    run = verb.add_parser("run", help=verbs.run.__doc__)
    run.add_argument("--timeout", type=float, default=3600, help="seconds the run may take (3600)")
    run.add_argument("--dag", default=DAG_ID, help=f"the DAG to run ({DAG_ID})")
    run.set_defaults(act=lambda given, at: verbs.run(at, given.timeout, given.dag))

    up = verb.add_parser("up", help=verbs.up.__doc__)
    up.add_argument("--port", type=int, default=8080, help="the first port to try (8080)")
    up.set_defaults(act=lambda given, at: verbs.up(at, given.port))

    down = verb.add_parser("down", help=verbs.down.__doc__)
    down.set_defaults(act=lambda given, at: verbs.down(at))

    psql = verb.add_parser("psql", help=verbs.psql.__doc__)
    psql.add_argument("--sql", help="a statement to execute, instead of asking for them")
    psql.set_defaults(act=lambda given, at: verbs.psql(at, given.sql))
    return parser.parse_args(argv)


def main() -> int:
    given = arguments()
    processes.interruptible()
    try:
        return given.act(given, installation_paths(given.state, given.dags))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except (LocalError, SettingsError, OSError, psycopg2.Error) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
