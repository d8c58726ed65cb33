"""One dbt command as an Airflow task."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)
from airflow.sdk.log import redact

from include.engine import settings
from include.engine.manifest import find
from include.engine.run import params, results
from include.engine.run.environment import dbt_environment, require_dbt
from include.engine.run.process import STDIN, DbtProcess, shell_command

LIST = ("ls", "--resource-type", "all", "--output", "json", "--output-keys", "unique_id")


class DbtOperator(BashOperator):
    """Runs `dbt` with `argv` against the warehouse of an Airflow connection.

    The command is plain dbt and holds nothing secret. The warehouse is in the environment. Paths of
    this machine are added when the task runs, so no serialized DAG holds them. Each try has its own
    target folder and log folder, which are removed at its end: tasks share no local disk.

    `nodes` are unique ids. If the run was triggered with a selection (run/params.py) that contains
    none of them, the task is skipped. Other params of the run become arguments. The task publishes
    no asset if the run does not build its model, or builds it in another target than the default. A
    `microbatch` model is built for the data interval of the run. Without `hooks`, the command runs
    no project hooks: they have their own tasks (run/project_hooks.py).

    The task's XCom is dbt's result of each node (`results.as_xcom`), also when the task fails.
    A second XCom, `warnings`, has dbt's warnings. Raises what `_failure` returns when dbt fails.
    """

    # No field is rendered: the command is complete. Rendering would write a row into Airflow's
    # database for each try. The log and the tab `dbt` show the command.
    template_fields = ()

    NOT_RETRIED = frozenset(("fail",))
    """The statuses of dbt that another try does not change."""

    _ended = SubprocessResult(0, "")
    """The exit code and the last line of the command."""

    def __init__(
        self,
        *,
        argv: Sequence[str],
        node: str,
        nodes: Iterable[str],
        connection: str,
        microbatch: bool = False,
        hooks: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(bash_command=shell_command(argv), skip_on_exit_code=None, **kwargs)
        self.connection = connection
        self.verb = argv[0]
        self.node = node
        self.nodes = frozenset(nodes)
        self.microbatch = microbatch
        self.hooks = hooks

    @cached_property
    def subprocess_hook(self) -> DbtProcess:
        config = settings.load()
        return DbtProcess(config.dbt_executable, config.warm)

    def get_env(self, context: Any) -> dict[str, str]:
        return super().get_env(context) | self._environment

    def _run_inline_command(self, bash_path: str, env: dict[str, str]) -> SubprocessResult:
        """As BashOperator does; the last line of the output is kept for the failure's lines."""
        self._ended = super()._run_inline_command(bash_path, env)
        return self._ended

    def execute(self, context: Any) -> dict[str, Any] | None:
        config = settings.load()
        require_dbt(config.dbt_executable)
        with TemporaryDirectory(prefix="dbt-") as folder:
            self._environment = dbt_environment(config, self.connection, Path(folder))
            if not self.hooks:
                self._environment["DBT_HOOKS"] = "none"
            self._prepare(context, config)
            # Airflow has rendered all templates by now: a person's input is part of none.
            if added := (
                *params.command_arguments(self.verb, context["params"]),
                *self._window(context),
            ):
                self.bash_command = (
                    f"{self.bash_command.removesuffix(STDIN)}{shlex.join(added)} {STDIN}"
                )
            try:
                super().execute(context)
            except AirflowException as error:
                raise self._failure(Path(folder), context, error) from None
            artifact = mask_results(results.read(Path(folder) / "target"))
            self._require_results(artifact, context)
        if not artifact["results"]:
            return None
        self._warn(artifact["results"], context["ti"])
        return results.as_xcom(artifact)

    def _warn(self, dbt_results: Iterable[results.Result], ti: Any) -> None:
        """Pushes dbt's warnings as an XCom: few people read the log of a task that succeeded."""
        warned = [result for result in dbt_results if result["status"] == "warn"]
        if warned:
            text = "\n".join(f"{r['unique_id']}: {results.message(r)}" for r in warned)
            self.log.warning("%s", text)
            ti.xcom_push(results.WARNINGS, text)

    def _failure(self, folder: Path, context: Any, error: AirflowException) -> AirflowException:
        """The exception for a command that failed; also pushes the results that there are.

        A test that failed on its data ("fail") fails again on a retry, so it has none: NOT_RETRIED.
        What dbt could not execute ("error") is retried unless its message says that the same would
        fail again (run/retries.py).
        """
        # Only a task that fails imports them.
        from include.engine.run import failures, unbuilt

        artifact = results.read(folder / "target")
        if artifact:
            context["ti"].xcom_push("return_value", results.as_xcom(mask_results(artifact)))
        failed = [
            result for result in artifact.get("results", ()) if result["status"] in results.FAILED
        ]
        message = failures.logged_error(folder / "logs") or self._ended.output
        if failed:
            lines = failures.lines_for_results(failed, self._failing_rows(failed, context))
        else:
            lines = [str(error), *(f"  {line}" for line in message.splitlines())]
        lines += [*unbuilt.stale_lines(settings.load()), *self._advice(context)]
        kind = AirflowFailException if self._is_final(failed, message) else AirflowException
        return kind(redact("\n".join(lines)))

    def _is_final(self, failed: Sequence[results.Result], message: str) -> bool:
        """Whether no retry can help; `message` is the error of a command without results."""
        from include.engine.run import retries

        if not failed:
            return retries.is_permanent(message)
        return all(
            result["status"] in self.NOT_RETRIED or retries.is_permanent(results.message(result))
            for result in failed
        )

    def _advice(self, context: Any) -> Iterator[str]:
        """The last lines of a failure: the tasks that it holds back, and how to run it again."""
        from include.engine.run import failures

        yield from failures.downstream_line(context["ti"].dag_id, self.task_id)
        yield f"Run it again: {self.rerun_hint()}"

    def _require_results(self, artifact: Mapping[str, Any], context: Any) -> None:
        """Fails a task whose command succeeded and yet did not run all of the task's nodes.

        Another try may run on another machine, or with a newer manifest. Nodes that the params of
        the run disable are left out, as in `dbt build`; the task skips if they are all that it has.
        """
        ran = {result["unique_id"] for result in artifact["results"]}
        missing = self._wanted - ran
        if not missing or "artifact" not in artifact:  # a program that only stands in for dbt
            return
        from include.engine.run import unbuilt

        self.outlets = []
        listed = listed_node_ids(self._output(("dbt", *LIST), context).stdout)
        disabled = self._disabled(missing - listed, context)
        if missing == disabled and not ran & self._wanted:
            raise AirflowSkipException("The params of this run disable it.")
        if not (lost := missing - disabled):
            return
        lines = unbuilt.explain(lost, listed, ran - self._wanted)
        with_errors = unbuilt.add_errors(artifact, lost, redact("\n".join(lines)))
        context["ti"].xcom_push("return_value", results.as_xcom(with_errors))
        raise AirflowException(redact("\n".join((*lines, *self._advice(context)))))

    def _disabled(self, unknown: Set[str], context: Any) -> Set[str]:
        """The nodes of `unknown` that dbt knows in a run without variables and target."""
        if not unknown or not params.shared_arguments(context["params"]):
            return frozenset()
        return unknown & listed_node_ids(self._output(("dbt", *LIST), {"params": {}}).stdout)

    def rerun_hint(self) -> str:
        """What a person does to run the same again."""
        return self.bash_command.removesuffix(STDIN).strip()

    def _failing_rows(self, failed: Iterable[results.Result], context: Any) -> dict[str, str]:
        """By unique id, the rows that fail a test, as dbt prints them; {} if none are wanted."""
        from include.engine.run import failures

        wanted = settings.load().failing_rows
        if not wanted:
            return {}
        rows = {}
        for result in failed:
            query = failures.failing_rows_query(result)
            if result["status"] == "fail" and query:
                argv = ("dbt", "--quiet", "show", f"--inline={query}", f"--limit={wanted}")
                rows[result["unique_id"]] = redact(self._output(argv, context).stdout.strip())
        return rows

    def _window(self, context: Any) -> tuple[str, ...]:
        """dbt's arguments for the data interval of the run, where the model is a microbatch one."""
        if not self.microbatch:
            return ()
        interval = (context.get(f"data_interval_{end}") for end in ("start", "end"))
        return params.batch_arguments(context["params"], context["dag_run"].run_type, *interval)

    def _prepare(self, context: Any, config: settings.Settings) -> None:
        """Fits the task to the params of the run.

        If the selection contains some of the task's tests, only those run. A task publishes nothing
        if the selection lacks some of its nodes, or if the run has another target than the default.
        Raises AirflowSkipException if the selection contains none of the task's nodes.
        """
        if context["params"].get("target"):
            self.outlets = []
        selected = self._selected(self.nodes | {self.node}, context)
        if not self.nodes & selected:
            selection = shlex.join(params.selection_arguments(context["params"]))
            raise AirflowSkipException(f"Not in this run's selection: {selection}")
        if not self.nodes | {self.node} <= selected:
            self.outlets = []
        self._wanted = self.nodes & selected
        if not self.nodes <= selected:
            from include.engine.manifest import records
            from include.engine.plan import tasks  # most task processes need no planner

            manifest = records.load_manifest(find.find_manifest(config, may_be_old=True))
            argv = tasks.command_for(manifest, self.verb, sorted(self._wanted))
            self.bash_command = shell_command(argv)

    def _selected(self, nodes: Set[str], context: Any) -> Set[str]:
        """The nodes that are in the run's selection, by `dbt ls`; all if it has no selection."""
        selection = params.selection_arguments(context["params"])
        if not selection:
            return nodes
        argv = ("dbt", *LIST, *selection)
        listed = self._output(argv, context)
        selected = listed_node_ids(listed.stdout)
        if listed.returncode or not selected:
            raise AirflowFailException(
                f"{shlex.join(argv)} selects nothing (exit code {listed.returncode}):\n"
                f"{listed.stdout}"
            )
        return nodes & selected

    def _output(self, argv: Sequence[str], context: Any) -> subprocess.CompletedProcess:
        """Runs another dbt command with the params of the run against the same warehouse."""
        return subprocess.run(
            (*argv, *params.shared_arguments(context["params"])),
            env=self.get_env(context),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )


def mask_results(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact, with secrets masked in the messages of the database.

    Names stay as they are: a password may also be the name of a schema.
    """
    return dict(artifact) | {
        "results": [
            result
            | {
                key: redact(results.without_cut_line(result[key]))
                for key in ("message", "error")
                if isinstance(result.get(key), str)
            }
            for result in artifact.get("results", ())
        ]
    }


def listed_node_ids(output: str) -> set[str]:
    """The unique ids in the output of `dbt ls`, which may contain other lines."""
    lines = (line for line in output.splitlines() if line.startswith("{"))
    return {json.loads(line)["unique_id"] for line in lines}
