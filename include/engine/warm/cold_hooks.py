"""`cold_hooks.py REASON REAL_DBT ARGUMENTS…`: one dbt command that no warm server runs.

The real dbt would run the project's hooks with each node, and for the task of the hooks alone it
would build the project. So this process runs the command itself, with the hooks that DBT_HOOKS
names. Where dbt is not as expected, it becomes the real dbt, or says why it cannot.
"""

import os
import sys


def main(reason: str, real: str, arguments: list[str]) -> int:
    try:
        import supported

        mismatch = supported.hooks_mismatch()
        if not mismatch:
            import project_hooks
            from dbt.cli.main import cli

            project_hooks.install()
    except Exception as error:
        mismatch = f"{type(error).__name__}: {error}"
    if mismatch:
        return without_python(f"{reason}; {mismatch}", real, arguments)
    print(f"dbt starts cold: {reason}", file=sys.stderr, flush=True)
    sys.path[0] = os.path.dirname(os.path.abspath(real))  # as in dbt's own script
    sys.argv = [real, *arguments]
    return cli()


def without_python(reason: str, real: str, arguments: list[str]) -> int:
    """Become the real dbt, unless that would build the project in the task of its hooks."""
    hooks = os.environ["DBT_HOOKS"]
    if hooks == "none":
        print(f"dbt starts cold, and hooks with it: {reason}", file=sys.stderr, flush=True)
        os.execv(real, [real, *arguments])
    hint = "(with DBT_WARM=false hooks run with each command)"
    print(f"dbt cannot run {hooks} hooks alone: {reason} {hint}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
