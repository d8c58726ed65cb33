"""dbt's debug events, where no log takes them: most of the hundred events of a command."""

import logging

from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import get_event_manager
from dbt_common.events.logger import PRINT_EVENT_NAMES

FIRE_EVENT = EventManager.fire_event


def install() -> None:
    EventManager.fire_event = fire_event


def fire_event(
    manager: EventManager,
    e: BaseEvent,
    level: EventLevel | None = None,
    node: object = None,
    force_warn_or_error_handling: bool = False,
) -> None:
    """EventManager.fire_event, but for a debug event that no log and no callback takes."""
    debug = (level or e.level_tag()) is EventLevel.DEBUG and not force_warn_or_error_handling
    if not debug or type(e).__name__ in PRINT_EVENT_NAMES or is_debug_heard(manager):
        FIRE_EVENT(manager, e, level, node, force_warn_or_error_handling)


def is_debug_heard(manager: EventManager | None = None) -> bool:
    """Does a log, or a callback that is not dbt's own, take debug events?"""
    manager = manager or get_event_manager()
    loggers = [logger._python_logger for logger in manager.loggers]
    return any(logger is None or logger.isEnabledFor(logging.DEBUG) for logger in loggers) or any(
        callback.__module__ != "dbt.tracking" for callback in manager.callbacks
    )
