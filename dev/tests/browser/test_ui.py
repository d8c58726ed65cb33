"""What a person sees who is called at night: Airflow's UI on a run in which things went wrong."""

from __future__ import annotations

import re

import pytest

from dev.tests.browser.picture import take
from dev.tests.browser.project import BEHIND_THE_TEST, FAILED_MODEL, FAILED_TEST, WARNED_TEST
from scripts.local.api import DAG_ID

DARK, LIGHT = "rgb(236, 236, 238)", "rgb(24, 24, 27)"
"""The colour of text on our pages."""


def task(run: str, task_id: str) -> str:
    return f"{run}/tasks/{task_id}"


def tab(page, run: str, task_id: str):
    """The content of the tab `dbt` of a task of a run, opened as a person opens it."""
    page.goto(task(run, task_id))
    page.get_by_role("link", name="dbt", exact=True).click()
    return page.frame_locator("iframe[title=dbt]")


def docs(page):
    """dbt's own site, in the frame of the page that Airflow shows."""
    return page.frame_locator("iframe[title='dbt docs']").frame_locator("iframe")


def is_seen(locator) -> None:
    locator.first.wait_for(state="visible")


def test_the_run_ended_as_it_was_planted(night):
    states = {one["task_id"]: one["state"] for one in night.api.tasks(night.run_id)}
    other = {key: state for key, state in states.items() if state != "success"}
    assert other == {
        FAILED_MODEL: "failed",
        FAILED_TEST: "failed",
        BEHIND_THE_TEST: "upstream_failed",
        "docs_catalog": "upstream_failed",
        "run_results": "failed",
    }
    assert states[WARNED_TEST] == "success"


def test_the_graph_has_the_folders_of_dbt_as_groups_that_open(page, night):
    page.goto(night.run)
    page.locator('button[aria-label*="raph"]').first.click()
    groups = {"seeds", "staging", "intermediate", "marts", "snapshots", "tests", "exposures"}
    nodes = page.locator(".react-flow__node")
    is_seen(nodes)
    texts = nodes.all_inner_texts()
    assert {text.split("\n")[0] for text in texts if "Task Group" in text} == groups
    nodes.filter(has_text="marts").get_by_role("button").click()
    is_seen(nodes.filter(has_text=FAILED_TEST))
    page.mouse.move(0, 0)
    page.wait_for_timeout(2000)  # the graph moves to its place, what the mouse showed goes
    take(page, "graph", around=nodes, scale=3)
    page.get_by_test_id("expand-all-button").click()
    is_seen(nodes.filter(has_text="seed.jaffle_shop.raw_orders"))
    tasks = {one["task_id"] for one in night.api.tasks(night.run_id)}
    page.wait_for_function(f"document.querySelectorAll('.react-flow__node').length > {len(tasks)}")
    assert tasks <= {text.split("\n")[0] for text in nodes.all_inner_texts()}


def test_a_failed_tests_log_names_it(page, night):
    page.goto(task(night.run, FAILED_TEST))
    is_seen(page.get_by_text("assert_every_product_is_new"))
    is_seen(page.get_by_text("Failed", exact=True))
    take(page, "failure")


def test_a_failed_models_log_has_the_databases_words(page, night):
    page.goto(task(night.run, FAILED_MODEL))
    is_seen(page.get_by_text("division by zero"))


def test_a_models_page_tells_what_dbt_knows_and_its_sql_is_one_click_away(page, night):
    found = tab(page, night.run, "model.jaffle_shop.orders")
    is_seen(found.get_by_text("One row per order, with what was bought and how it was paid."))
    is_seen(found.get_by_text("make dbt ARGS='run --select orders'", exact=True))
    row = found.get_by_role("row").filter(has=found.get_by_text("status", exact=True))
    assert row.first.get_by_role("cell").all_inner_texts()[-1].strip() == "accepted_values"
    sql = found.locator("pre").filter(has_text='from "warehouse"."analytics"')
    assert not sql.is_visible()
    found.get_by_text("Compiled SQL").click()
    is_seen(sql)


def test_a_test_tasks_page_has_each_test_and_says_which_only_warns(page, night):
    found = tab(page, night.run, WARNED_TEST)
    heading = found.get_by_role("heading", name="assert_no_payment_failed")
    is_seen(heading)
    assert heading.inner_text() == "assert_no_payment_failed warn"
    is_seen(found.get_by_text('["credit_card", "bank_transfer", "gift_card", "coupon"]'))


def test_the_dags_page_tells_of_the_project_and_its_manifest(page):
    page.goto(f"/dags/{DAG_ID}")
    page.locator('a[href$="/plugin/dbt"]').click()
    found = page.frame_locator("iframe[title=dbt]")
    is_seen(found.get_by_text("A shop that sells toasted sandwiches"))
    is_seen(found.get_by_text("67 tests, 15 models, 5 seeds, 5 sources, 2 unit tests"))
    is_seen(found.get_by_role("link", name="revenue_dashboard"))
    is_seen(found.get_by_text(re.compile(r"built 20.* ago\) by dbt 1")))
    is_seen(found.get_by_text(re.compile(r"runs: of the last 30 runs of each DAG")))


def test_dbts_docs_are_in_the_navigation_and_their_addresses_can_be_shared(page):
    page.goto("/")
    page.get_by_role("link", name="dbt docs").click()
    site = docs(page)
    is_seen(site.get_by_role("heading", name="The jaffle shop"))
    page.goto("/plugin/dbt-docs/dbt/docs/#!/model/model.jaffle_shop.orders")
    is_seen(site.get_by_role("heading", name="orders"))
    is_seen(site.get_by_text("Key of the order."))
    take(page, "docs")


def test_a_task_leads_to_its_place_in_dbts_docs(page, night):
    found = tab(page, night.run, "model.jaffle_shop.orders")
    found.get_by_role("link", name="in dbt docs").click()
    is_seen(found.frame_locator("iframe").get_by_role("link", name="Referenced By"))
    here = [frame.url for frame in page.frames if "/dbt/docs/" in frame.url]
    address = "#!/model/model.jaffle_shop.orders"
    assert [url.partition("/dbt/docs/")[2] for url in here] == [address, f"site{address}"]


@pytest.mark.parametrize(("theme", "colour"), [("light", LIGHT), ("dark", DARK)])
def test_pages_are_light_or_dark_as_airflow_is(page_in, night, theme, colour):
    page = page_in(theme)
    found = tab(page, night.run, "model.jaffle_shop.orders").locator("body").filter(has_text="file")
    is_seen(found)
    assert found.evaluate("body => getComputedStyle(body).color") == colour
    page.goto("/plugin/dbt-docs/")
    is_seen(docs(page).get_by_role("heading", name="The jaffle shop"))
    frame = page.frame_locator("iframe[title='dbt docs']").locator("iframe")
    inverted = frame.evaluate("frame => getComputedStyle(frame).filter") != "none"
    assert inverted == (theme == "dark")


def test_a_run_triggered_by_the_form_skips_what_was_not_selected(page, night):
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    form.locator("[name=element_select]").fill("stg_jaffle_shop__orders")
    form.locator("[name=element_full_refresh]").press("Space")
    form.get_by_role("button", name="Trigger", exact=True).click()
    form.wait_for(state="hidden")
    (run,) = [one for one in night.runs() if one["conf"]]
    assert run["conf"]["select"] == "stg_jaffle_shop__orders"
    assert night.ended(run["dag_run_id"]) == "success"
    states = {one["task_id"]: one["state"] for one in night.api.tasks(run["dag_run_id"])}
    ran = {task_id for task_id, state in states.items() if state == "success"}
    assert "model.jaffle_shop.stg_jaffle_shop__orders" in ran
    assert set(states.values()) == {"success", "skipped"}
    here = f"/dags/{DAG_ID}/runs/{run['dag_run_id']}"
    page.goto(task(here, "model.jaffle_shop.orders"))
    is_seen(page.get_by_text("Skipped", exact=True))
    found = tab(page, here, "model.jaffle_shop.stg_jaffle_shop__orders")
    again = "make dbt ARGS='run --select stg_jaffle_shop__orders --full-refresh'"
    is_seen(found.get_by_text(again))
    # The last task of a run that went well has asked the warehouse what columns it has.
    row = found.get_by_role("row").filter(has=found.get_by_text("ordered_at", exact=True))
    assert "timestamp" in row.get_by_role("cell").nth(1).inner_text()
