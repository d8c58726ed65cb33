"""dbt's results without what is secret in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.log import redact

from include.engine.run import results


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
