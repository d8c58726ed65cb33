"""One dbt command as an Airflow task."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowSkipException,
)

from include.engine import settings
from include.engine.manifest import find
from include.engine.run import kept_xcoms, one_run, params, results
from include.engine.run.environment import dbt_environment, require_dbt
from include.engine.run.masking import mask_results
from include.engine.run.process import STDIN, DbtProcess, parse_command, shell_command
from include.engine.run.shared_manifests import shared_place
from include.engine.run.try_folder import try_folder


class DbtOperator(BashOperator):
    """Runs `dbt` with `argv` against the warehouse of an Airflow connection.

    The command is plain dbt and holds nothing secret. The warehouse is in the environment. Paths of
    this machine are added when the task runs, so no serialized DAG holds them. Each try has its own
    target folder and log folder, which are removed at its end: tasks share no local disk. dbt
    starts in the project's folder, as by hand: a file that a profile or a model names may be
    relative to it.

    `nodes` are unique ids. If the run was triggered with a selection (run/params.py) that contains
    none of them, the task is skipped. Other params of the run become arguments. The task publishes
    no asset if the run does not build its model, or builds it in another target than the default. A
    `microbatch` model is built for the data interval of the run. The command runs the project hooks
    of the packages `hooks`, of all if it is None: others have their own tasks (project_hooks.py).

    The task's XCom is dbt's result of each node (`record`), also when the task fails.
    A second XCom, `warnings`, has dbt's warnings. If dbt fails, raises `outcome.failure`.
    """

    # No field is rendered: the command is complete. Rendering would write a row into Airflow's
    # database for each try. The log and the tab `dbt` show the command.
    template_fields = ()

    NOT_RETRIED = frozenset(("fail",))
    """The statuses of dbt that another try does not change."""

    HAS_RESULTS = True
    """Whether what dbt leaves is about nodes of the project."""

    built_until: datetime | None = None
    """The end of the batches that a scheduled run of a microbatch model builds."""

    ended = SubprocessResult(0, "")
    """The exit code and the last line of the command."""

    def __init__(
        self,
        *,
        argv: Sequence[str],
        node: str,
        nodes: Iterable[str],
        connection: str,
        microbatch: bool = False,
        hooks: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(bash_command=shell_command(argv), skip_on_exit_code=None, **kwargs)
        self.connection = connection
        self.verb = argv[0]
        self.node = node
        self.nodes = frozenset(nodes)
        self.microbatch = microbatch
        self.hooks = None if hooks is None else tuple(hooks)

    @cached_property
    def subprocess_hook(self) -> DbtProcess:
        config = settings.load()
        return DbtProcess(config.dbt_executable, config.warm, shared_place(config))

    def get_env(self, context: Any) -> dict[str, str]:
        return super().get_env(context) | self._environment

    def _run_inline_command(self, bash_path: str, env: dict[str, str]) -> SubprocessResult:
        """As BashOperator does; the last line of the output is kept for the failure's lines."""
        self.ended = super()._run_inline_command(bash_path, env)
        return self.ended

    def execute(self, context: Any) -> dict[str, Any] | None:
        config = settings.load()
        kept_xcoms.forget(config, context["ti"])
        require_dbt(config.dbt_executable)
        self.cwd = str(config.project_dir) if config.project_dir.is_dir() else None
        with try_folder() as folder:
            self._environment = dbt_environment(
                config, self.connection, folder, context["params"].get("target")
            )
            self._environment |= one_run.environment(context)
            if self.hooks is not None:
                self._environment |= {"DBT_HOOKS": "none", "DBT_HOOKS_EACH": ",".join(self.hooks)}
            params.require_known_keys(context)
            self._prepare(context, config)
            self._add_arguments(context)
            try:
                super().execute(context)
            except AirflowException as error:
                from include.engine.run import outcome  # a task that succeeds goes without

                raise outcome.failure(self, folder, context, error) from None
            artifact = mask_results(results.read(folder / "target"))
            # Without an artifact dbt's exit code is all that there is.
            if artifact.keys() > {"results"} and not self.wanted <= results.node_ids(artifact):
                from include.engine.run import outcome

                outcome.require_results(self, artifact, context)
        if self.built_until:
            context["ti"].xcom_push(results.BUILT_UNTIL, self.built_until.isoformat())
        if not (self.HAS_RESULTS and artifact["results"]):
            return None
        self._warn(artifact["results"], context["ti"])
        return self.record(artifact, context)

    def record(self, artifact: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """An artifact of dbt as the task's XCom, which is kept for the last task of the run."""
        xcom = one_run.add_start(results.as_xcom(artifact), self._environment)
        kept_xcoms.keep(settings.load(), context["ti"], xcom)
        return xcom

    def _add_arguments(self, context: Any) -> None:
        """Adds the params of the run, and the times of a microbatch model, to the command.

        Airflow has rendered all templates by now: a person's input is part of none.
        """
        added = *params.command_arguments(self.verb, context["params"]), *self._window(context)
        if added:
            command = self.bash_command.removesuffix(STDIN)
            self.bash_command = f"{command}{shlex.join(added)} {STDIN}"

    def _warn(self, dbt_results: Iterable[results.Result], ti: Any) -> None:
        """Pushes dbt's warnings as an XCom: few people read the log of a task that succeeded."""
        warned = [result for result in dbt_results if result["status"] == "warn"]
        if warned:
            text = "\n".join(f"{r['unique_id']}: {results.message(r)}" for r in warned)
            self.log.warning("%s", text)
            ti.xcom_push(results.WARNINGS, text)

    def rerun_hint(self) -> str:
        """The line that a person pastes into a shell to run the same again."""
        from include.engine.run import rerun  # only a task that fails imports it

        return rerun.shell_line(parse_command(self.bash_command), settings.load().by_make)

    def _window(self, context: Any) -> tuple[str, ...]:
        """dbt's arguments for the data interval of the run, where the model is a microbatch one."""
        if not self.microbatch:
            return ()
        run_type = context["dag_run"].run_type
        interval = tuple(context.get(f"data_interval_{end}") for end in ("start", "end"))
        arguments = params.batch_arguments(context["params"], run_type, *interval)
        if run_type != "scheduled" or not arguments:
            return arguments
        from include.engine.run import microbatch

        window = microbatch.window_since_last_run(self.node, context["ti"], *interval)
        arguments = params.batch_arguments(context["params"], run_type, *window)
        context["ti"].xcom_push(results.EVENT_TIMES, shlex.join(arguments))
        self.built_until = window[1]
        return arguments

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
            arguments = shlex.join(params.selection_arguments(context["params"]))
            raise AirflowSkipException(f"Not in this run's selection: {arguments}")
        if not self.nodes | {self.node} <= selected:
            self.outlets = []
        self.wanted = self.nodes & selected
        if not self.nodes <= selected:
            from include.engine.manifest import records
            from include.engine.plan import tasks  # most task processes need no planner

            manifest = records.load_manifest(find.find_manifest(config, may_be_old=True))
            argv = tasks.command_for(manifest, self.verb, sorted(self.wanted))
            self.bash_command = shell_command(argv)

    def _selected(self, nodes: Set[str], context: Any) -> Set[str]:
        """The nodes that are in the run's selection; all if it has none.

        Raises AirflowFailException if this DAG runs nothing of the selection.
        """
        if not params.selection_arguments(context["params"]):
            return nodes
        from include.engine.run import selection  # most task processes need no selection

        selected = selection.selected_nodes(
            context["params"], lambda argv: self.output(argv, context)
        )
        if not nodes & selected:
            selection.require_in_dag(selected, context["ti"].dag_id, context["params"])
        return nodes & selected

    def output(self, argv: Sequence[str], context: Any) -> subprocess.CompletedProcess:
        """Runs another dbt command with the params of the run against the same warehouse."""
        return subprocess.run(
            (*argv, *params.shared_arguments(context["params"])),
            env=self.get_env(context),
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
