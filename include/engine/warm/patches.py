"""What dbt does anew in each command, always with the same outcome: here it is done once, or not
at all. What a command prints, logs and leaves is the same.
"""

import functools
import logging
import sys

import parsedatetime
import sqlparse.lexer
from dbt.artifacts.schemas.results import RunStatus
from dbt.config.project import Project
from dbt.config.runtime import RuntimeConfig
from dbt.node_types import RunHookType
from dbt.plugins.manager import PluginManager
from dbt.task.run import RunTask
from dbt.tracking import track_behavior_change_warn
from dbt_common import behavior_flags
from dbt_common.clients.jinja import MacroFuzzEnvironment
from dbt_common.events import functions
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import get_event_manager
from dbt_common.events.logger import PRINT_EVENT_NAMES
from dbt_common.exceptions import base

try:
    import postgres_sessions
except ImportError:  # dbt is not for Postgres
    postgres_sessions = None

EVENT = BaseEvent.__init__
FIRE_EVENT = EventManager.fire_event
SAFE_RUN_HOOKS = RunTask.safe_run_hooks
COMPILE = MacroFuzzEnvironment.compile
CODE: dict[str, object] = {}


def install_in_parent() -> None:
    """For what depends on nothing but the code, and what is installed beside it."""
    sqlparse.lexer.Lexer.get_default_instance()  # compiles its expressions
    plugins = PluginManager.get_prefixed_modules()  # looks into every folder of sys.path
    PluginManager.get_prefixed_modules = staticmethod(lambda: plugins)
    behavior_flags.BehaviorFlagRendered._default_source = staticmethod(source)
    parsedatetime.Constants = functools.cache(parsedatetime.Constants)  # of agate's types
    EventManager.fire_event = fire_event
    RunTask.safe_run_hooks = safe_run_hooks
    BaseEvent.__init__, BaseEvent.pb_msg = put_off, Message()
    MacroFuzzEnvironment.compile = compile_template
    # What a package's file and the profile say was checked where it was read. dbt checks twice more
    # what it made of that, for each package ("sanity check" in PartialProject.create_project).
    Project.validate = RuntimeConfig.validate = lambda project: None


def install_in_child() -> None:
    """For what depends on a command and its environment."""
    base.env_secrets = functions.env_secrets = functools.cache(base.env_secrets)
    if postgres_sessions:
        postgres_sessions.install()


def before_command() -> None:
    base.env_secrets.cache_clear()


def after_command() -> None:
    if postgres_sessions:
        postgres_sessions.after_command()


def safe_run_hooks(task: RunTask, adapter, kind: RunHookType, context: dict) -> RunStatus:
    """RunTask.safe_run_hooks, which opens a session at the end to commit nothing in it."""
    empty = kind is RunHookType.End and not task.get_hooks_by_type(kind)
    well = all(result.status != "error" for result in task.node_results)
    if empty and well and not _is_debugged(get_event_manager()):
        return RunStatus.Success
    return SAFE_RUN_HOOKS(task, adapter, kind, context)


def compile_template(environment: MacroFuzzEnvironment, source: object, *rest, **options):
    """Environment.compile, once for each text: nothing of the environment goes into the code."""
    if rest or options or not isinstance(source, str):
        return COMPILE(environment, source, *rest, **options)
    if source not in CODE:
        CODE[source] = COMPILE(environment, source)
    return CODE[source]


def source() -> str:
    """The module that defines a behavior flag, without dbt's look at the files of all frames."""
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] == behavior_flags.__name__:
        frame = frame.f_back
    return frame.f_globals["__name__"]


def put_off(event: BaseEvent, *args, **kwargs) -> None:
    """BaseEvent.__init__, which makes the event's message, when somebody asks for that."""
    event.__dict__["put_off"] = args, kwargs


class Message:
    """BaseEvent.pb_msg until it is made."""

    def __get__(self, event: BaseEvent, owner: type) -> object:
        args, kwargs = event.__dict__["put_off"]
        EVENT(event, *args, **kwargs)
        return event.__dict__["pb_msg"]


def fire_event(
    manager: EventManager, event: BaseEvent, level: EventLevel | None = None, *rest, **options
) -> None:
    """EventManager.fire_event, but for events that nobody hears: most, of a hundred a command."""
    quiet = (level or event.level_tag()) is EventLevel.DEBUG
    if not quiet or type(event).__name__ in PRINT_EVENT_NAMES or _is_debugged(manager):
        FIRE_EVENT(manager, event, level, *rest, **options)


def _is_debugged(manager: EventManager) -> bool:
    # That callback is dbt's own, and takes warnings only.
    return manager.callbacks != [track_behavior_change_warn] or any(
        logger._python_logger is None or logger._python_logger.isEnabledFor(logging.DEBUG)
        for logger in manager.loggers
    )
