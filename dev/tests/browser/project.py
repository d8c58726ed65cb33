"""The sample project with three faults planted: what a person finds who was called at night."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.tests.scheduled.installation import dag_arguments
from include.engine import settings

FAILED_MODEL = "model.jaffle_shop.revenue_per_visit"
FAILED_TEST = "test.jaffle_shop.products"
WARNED_TEST = "test.jaffle_shop.stg_stripe__payments"
BEHIND_THE_TEST = "model.jaffle_shop.product_shelf"

PLANTED = {
    "models/marts/revenue_per_visit.sql": """\
-- Nobody counts visits yet.
select order_id, net_revenue / (item_count - item_count) as revenue_per_visit
from {{ ref('orders') }}
""",
    "models/marts/product_shelf.sql": "select product_id from {{ ref('products') }}\n",
    "tests/assert_every_product_is_new.sql": "select product_id from {{ ref('products') }}\n",
    "tests/assert_no_payment_failed.sql": """\
{{ config(severity = 'warn') }}
select * from {{ ref('stg_stripe__payments') }} where status = 'failed'
""",
}


def plant(folder: Path) -> dict[str, str]:
    """Makes the project and its manifest in `folder`; returns the environment that names them."""
    config = settings.load()
    written = shutil.ignore_patterns("target", "logs", "dbt_packages")
    project = Path(shutil.copytree(config.project_dir, folder / "project", ignore=written))
    for name, text in PLANTED.items():
        (project / name).write_text(text)
    environment = {
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_MANIFEST": str(folder / "manifest" / "manifest.json"),
        "DBT_DOCS_CATALOG": str(folder / "catalog" / "catalog.json"),
        **dag_arguments(retries=0),
    }
    subprocess.run(
        [sys.executable, "-m", "include.engine.manifest.build"],
        cwd=settings.ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return environment
