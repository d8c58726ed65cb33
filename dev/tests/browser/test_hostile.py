"""No text of a dbt project runs in the browser of the person who reads it.

Whoever may change a description could otherwise act as each of its readers in Airflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests.browser.guarded import READER

TELL = "console.log('it ran')"
HOSTILE = f"""
</script><svg onload="{TELL}"></svg><script>{TELL}</script>
<img src=x onerror="{TELL}"> <iframe srcdoc="<script>{TELL}</script>"></iframe>
<a class="hostile" href="javascript:{TELL}">here</a> [there](javascript:{TELL})
<!--<script> {{{{constructor.constructor("{TELL}")()}}}}
<math><mtext><style><img onerror={TELL} src=x>
"""
ORDERS = "model.jaffle_shop.orders"
SITE = (
    "#!/overview",
    f"#!/model/{ORDERS}",
    "#!/source/source.jaffle_shop.jaffle_shop.customers",
    "#!/exposure/exposure.jaffle_shop.revenue_dashboard",
    "#!/macro/macro.jaffle_shop.cents_to_dollars",
    "#!/seed/seed.jaffle_shop.raw_orders",
)
PAGES = (
    "/dbt/dags/dbt_dag",
    f"/dbt/dags/dbt_dag/tasks/{ORDERS}",
    "/dbt/dags/dbt_dag/tasks/test.jaffle_shop.orders",
    "/dbt/dags/dbt_dag/tasks/seed.jaffle_shop.raw_orders",
)


def poison(raw: dict) -> None:
    """Puts the hostile text into everything that a person may write in a dbt project."""
    sections = ("nodes", "sources", "exposures", "macros", "groups", "docs", "unit_tests")
    for member in (member for name in sections for member in raw[name].values()):
        for key in ("description", "block_contents", "raw_code", "compiled_code", "macro_sql"):
            if member.get(key) is not None:
                member[key] = f"{member[key]}{HOSTILE}"
        if "columns" in member:
            name = f"column {HOSTILE}"
            column = {"name": name, "description": HOSTILE, "meta": {HOSTILE: HOSTILE}, "tags": []}
            member["columns"][name] = column
            member["meta"] = {HOSTILE: HOSTILE}
            member["tags"] = [*member.get("tags", ()), HOSTILE]
    for exposure in raw["exposures"].values():
        exposure |= {"url": f"javascript:{TELL}", "label": HOSTILE}
        exposure["owner"] = {"name": HOSTILE, "email": HOSTILE}
    raw["nodes"][ORDERS] |= {"name": f"orders {HOSTILE}", "relation_name": HOSTILE}


@pytest.fixture(scope="module")
def hostile(manifest) -> Iterator[Path]:
    """The manifest of the server with hostile texts, and a catalog with some."""
    before = manifest.read_bytes()
    raw = json.loads(before)
    poison(raw)
    manifest.write_text(json.dumps(raw))
    column = {"type": HOSTILE, "index": 1, "name": f"found {HOSTILE}", "comment": HOSTILE}
    node = {
        "metadata": {"type": HOSTILE, "schema": HOSTILE, "name": HOSTILE, "owner": HOSTILE},
        "columns": {column["name"]: column},
        "stats": {},
        "unique_id": ORDERS,
    }
    catalog = manifest.with_name("catalog.json")
    catalog.write_text(json.dumps({"nodes": {ORDERS: node}, "sources": {}, "metadata": {}}))
    yield manifest
    manifest.write_bytes(before)
    catalog.unlink()


@pytest.fixture
def page(browser, server, hostile) -> Iterator:
    """A page of a user who may read all; `page.ran` has what the hostile script said."""
    context = browser.new_context(base_url=f"{server.url}/")
    context.add_cookies([{"name": "_token", "value": server.token(READER), "url": server.url}])
    opened = context.new_page()
    opened.ran = []
    opened.on("console", lambda line: "it ran" in line.text and opened.ran.append(line.text))
    yield opened
    context.close()


def read(page, frame) -> None:
    """Follows every hostile link in the frame, and gives scripts the time to run."""
    links = "a[href^='javascript:'], a[href^='unsafe:'], a.hostile"
    frame.locator("body").evaluate(
        "(body, links) => body.querySelectorAll(links).forEach(link => link.click())", links
    )
    page.wait_for_timeout(300)


@pytest.mark.parametrize("address", SITE)
def test_nothing_runs_in_dbts_site(page, server, address):
    page.goto(f"{server.url}/dbt/docs/{address}")
    site = page.frame_locator("iframe")
    site.locator("h1:visible").first.wait_for()
    read(page, site)
    assert page.ran == []


def test_nothing_runs_when_the_site_is_searched(page, server):
    page.goto(f"{server.url}/dbt/docs/")
    site = page.frame_locator("iframe")
    site.get_by_placeholder("Search for models").fill("hostile")
    site.get_by_text(re.compile(r"[1-9]\d* search results")).wait_for(state="visible")
    read(page, site)
    assert page.ran == []


def test_the_site_alone_has_not_the_origin_of_airflow(page, server):
    """A person may open the address of the frame, too."""
    page.goto(f"{server.url}/dbt/docs/site#!/model/{ORDERS}")
    page.locator("h1:visible").first.wait_for()
    assert page.evaluate("origin") == "null"
    assert page.ran == []


@pytest.mark.parametrize("path", PAGES)
def test_nothing_runs_in_our_pages(page, server, path):
    page.goto(server.url + path)
    page.get_by_text("it ran").first.wait_for(state="attached")
    read(page, page)
    assert page.ran == []


def test_the_script_would_tell_if_it_ran(page, server):
    """Without the policy of the site, it does: so the tests above would see it."""

    def without_policy(route) -> None:
        answer = route.fetch()
        kept = {k: v for k, v in answer.headers.items() if k != "content-security-policy"}
        route.fulfill(response=answer, headers=kept)

    page.route("**/dbt/docs/site", without_policy)
    page.goto(f"{server.url}/dbt/docs/#!/model/{ORDERS}")
    site = page.frame_locator("iframe")
    site.locator("h1:visible").first.wait_for()
    read(page, site)
    assert page.ran != []
