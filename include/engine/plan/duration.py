"""Durations in dbt's YAML: seconds, or ISO 8601."""

from __future__ import annotations

import re

_DURATION = r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?"
_UNITS = (86400, 3600, 60, 1)  # seconds
_LONGEST = 10**9  # seconds, some 31 years: Python's dates end in the year 9999


def parse_duration(value: object) -> int | None:
    """The seconds of a whole number, or of a text such as `PT10M` or `P1DT6H`.

    None for any other value, for no time at all, and for more than 10**9 seconds.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 < value <= _LONGEST else None
    match = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if not match:
        return None
    numbers = [int(part or 0) for part in match.groups()]
    seconds = sum(n * unit for n, unit in zip(numbers, _UNITS, strict=True))
    return seconds if 0 < seconds <= _LONGEST else None
