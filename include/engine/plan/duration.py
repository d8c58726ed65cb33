"""Durations in dbt's YAML: seconds, or ISO 8601."""

from __future__ import annotations

import re

_DURATION = r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?"
_UNITS = (86400, 3600, 60, 1)  # seconds


def parse_duration(value: object) -> int | None:
    """The seconds of a whole number, or of a text such as `PT10M` or `P1DT6H`.

    None for any other value, and for no time at all.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value > 0 else None
    match = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if not match:
        return None
    numbers = [int(part or 0) for part in match.groups()]
    return sum(n * unit for n, unit in zip(numbers, _UNITS, strict=True)) or None
