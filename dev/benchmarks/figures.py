"""What the benchmarks say of a series of numbers."""

from __future__ import annotations

import datetime
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, least, greatest and number of `values`."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()} | {"n": len(values)}


def shown(figures: Mapping[str, float], digits: int = 3) -> str:
    """`median (min-max)`."""
    median, low, high = (f"{figures[name]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({low}-{high})"


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of log(value) over log(size): 1 is linear, 0 does not grow."""
    xs, ys = ([math.log(number) for number in series] for series in (sizes, values))
    return round(statistics.linear_regression(xs, ys).slope, 2)


def machine(*packages: str) -> dict:
    """When and where a benchmark ran, and the versions of `packages` in this Python."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
