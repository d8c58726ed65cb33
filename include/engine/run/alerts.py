"""Alerts: what a failed task ends with, told by any of Airflow's notifiers.

Its arguments are templates, as with any notifier
(https://airflow.apache.org/docs/apache-airflow/stable/howto/notifications.html); beside Airflow's
own variables they may use `alert.title`, `alert.text` and `alert.url`.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from airflow.sdk.log import redact

from include.engine import settings
from include.engine.run import results

# What notifiers call their message, and what is sent where the settings say nothing else.
_PLAIN = "{{ alert.title }}\n{{ alert.text }}\n{{ alert.url }}"
_HTML = '<pre>{{ alert.text | e }}</pre>\n<p><a href="{{ alert.url }}">The task in Airflow</a></p>'
DEFAULTS = (
    {"subject": "{{ alert.title }}", "title": "{{ alert.title }}"},
    {"html_content": _HTML},
    dict.fromkeys(("text", "message", "body", "summary", "content"), _PLAIN),
)


class Alert(NamedTuple):
    """What there is to tell: one line, the lines of the task's log, and its page in Airflow."""

    title: str
    text: str
    url: str


def callbacks(config: settings.Settings) -> dict[str, Any]:
    """What tasks call at their end, as arguments of an operator.

    Raises SettingsError if there is no such notifier.
    """
    notifier(config.alert_notifier)
    warned = {"on_success_callback": on_success} if config.alert_warnings else {}
    return {"on_failure_callback": on_failure} | warned


def on_failure(context: Mapping[str, Any]) -> None:
    """Tells of a task that failed and is not tried again."""
    said = context.get("exception") or "It ended without a message; its log may say more."
    send(context, "failed", str(said))


def on_success(context: Mapping[str, Any]) -> None:
    """Tells of a task that succeeded with warnings."""
    if said := context["ti"].xcom_pull(key=results.WARNINGS):
        send(context, "warns", said)


def send(context: Mapping[str, Any], what: str, said: str) -> None:
    """Has the notifier of the settings tell of the task; nothing secret is in what it is given."""
    config, ti = settings.load(), context["ti"]
    alert = Alert(f"{ti.dag_id}: {ti.task_id} {what}", str(redact(said)), ti.log_url)
    made = notifier(config.alert_notifier)
    accepted = inspect.signature(made).parameters
    made(**arguments(config.alert_arguments, accepted))({**context, "alert": alert})


def arguments(given: Mapping[str, Any], accepted: Collection[str]) -> dict[str, Any]:
    """The arguments of the settings and, where they leave them out, a subject and the message."""
    found = dict(given)
    for group in DEFAULTS:
        names = [name for name in group if name in accepted]
        if names and not found.keys() & group.keys():
            found[names[0]] = group[names[0]]
    return found


def notifier(path: str) -> Any:
    """The class at that path. Raises SettingsError, naming the variable, if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise settings.SettingsError(
            f"DBT_ALERT_NOTIFIER is {path!r}, which cannot be imported ({error}). It takes a class "
            "such as airflow.providers.smtp.notifications.smtp.SmtpNotifier; its provider goes "
            "into requirements.txt"
        ) from error
