"""`cold.py REASON REAL_DBT ARGUMENTS…`: one dbt command that no warm server runs.

It takes its manifest from the store, where an earlier process has parsed the same (parsing.py). It
runs the hooks that DBT_HOOKS names: the real dbt would run the project's hooks with each node, and
for the task of the hooks alone it would build the project. And it has the time and the id of its
DAG run (one_run.py). Where dbt is not as expected, this process becomes the real dbt, or says why
it cannot.

`cold.py check` prints why hooks and times could not be those of a DAG run; nothing if they could.
"""

import gc
import os
import sys

import protocol

gc.disable()  # what the imports make is kept
sys.path.insert(1, protocol.INSIDE)
YOUNG_OBJECTS = 50_000  # as in a worker


def main(reason: str, real: str, arguments: list[str]) -> int:
    try:
        mismatch = prepare(arguments)
        from dbt.cli.main import cli
    except Exception as error:
        mismatch = f"{type(error).__name__}: {error}"
    if mismatch:
        reason = reason if mismatch in reason else f"{reason}; {mismatch}"
        return without_python(reason, real, arguments)
    say(f"dbt starts cold: {reason}")
    sys.path[:2] = [os.path.dirname(os.path.abspath(real))]  # as in dbt's own script
    sys.argv = [real, *arguments]
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    return cli()


def prepare(arguments: list[str]) -> str:
    """Replace what this command needs replaced. Returns why that cannot be; else an empty text."""
    import supported

    mismatch = supported.mismatch()
    if not mismatch:
        import parsing

        parsing.install({}, tell, takes=protocol.may_be_warm(arguments))
    elif is_of_a_run() and not supported.cold_mismatch():
        import one_run
        import project_hooks

        one_run.install()
        project_hooks.install()
        return ""
    return mismatch


def is_of_a_run() -> bool:
    return bool(os.environ.get("DBT_HOOKS") or os.environ.get("DBT_RUN_STARTED_AT"))


def check() -> str:
    """Why dbt cannot be told its hooks and its time; an empty text if it can."""
    try:
        import supported

        return supported.cold_mismatch()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def tell(kind: str, value: object) -> None:
    if kind == "not_cached":
        say(f"dbt parses in each command: {value}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def without_python(reason: str, real: str, arguments: list[str]) -> int:
    """Become the real dbt, unless that would build the project in the task of its hooks."""
    hooks = os.environ.get("DBT_HOOKS")
    if hooks in (None, "", "none"):
        say(f"dbt starts cold{', and hooks with it' if hooks else ''}: {reason}")
        os.execv(real, [real, *arguments])
    hint = "(with DBT_WARM=false hooks run with each command)"
    say(f"dbt cannot run {hooks} hooks alone: {reason} {hint}")
    return 2


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        print(check())
    else:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
