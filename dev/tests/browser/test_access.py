"""Who sees dbt's pages: an API server below a base path, and users with and without permissions."""

from __future__ import annotations

import json

import pytest

from dev.tests.browser.guarded import READER, STRANGER, WITHOUT_RUNS

PAGES = (
    "/dbt/docs/",
    "/dbt/docs/site",
    "/dbt/dags/dbt_dag",
    "/dbt/dags/dbt_dag/tasks/model.jaffle_shop.orders",
    "/dbt/dags/dbt_dag/runs/manual__1/tasks/model.jaffle_shop.orders",
)
OUTSIDE = (
    "/dbt/docs/manifest.json",
    "/dbt/docs/catalog.json",
    "/dbt/docs/index.html",
    "/dbt/docs/../../../../../../etc/passwd",
    "/dbt/docs/%2e%2e/%2e%2e/etc/passwd",
    "/dbt/docs/..%2f..%2fetc%2fpasswd",
    "/dbt/docs/..%5c..%5cetc%5cpasswd",
    "/dbt/docs//etc/passwd",
    "/dbt/docs/manifest.files.json",
    "/dbt/docs/plan.jsonl",
    "/dbt/docs/index.html%00.json",
    "/dbt/dags/dbt_dag/tasks/..%2f..%2fmanifest.json",
    "/dbt/dags/dbt_dag/tasks/%2e%2e",
    "/dbt/dags/..%2f..%2fetc/tasks/passwd",
)


@pytest.mark.parametrize("path", PAGES)
def test_without_a_login_there_is_no_answer_but_the_way_to_it(server, path):
    assert server.get(path).status == 401
    sent = server.get(path, Accept="text/html")
    login = "/air/flow/api/v2/auth/login?next=%2Fair%2Fflow" + path.replace("/", "%2F")
    assert (sent.status, sent.headers["Location"]) == (307, login)


@pytest.mark.parametrize("path", PAGES)
def test_a_user_who_may_not_read_the_dags_code_is_refused(server, path):
    assert server.get(path, STRANGER).status == 403


def test_what_a_run_was_given_is_for_those_who_may_see_runs(server):
    of_the_dag, of_a_run = PAGES[-2:]
    assert server.get(of_the_dag, WITHOUT_RUNS).status == 200
    assert server.get(of_a_run, WITHOUT_RUNS).status == 403


@pytest.mark.parametrize("path", PAGES)
def test_a_reader_gets_every_page_and_nothing_in_it_may_come_from_elsewhere(server, path):
    found = server.get(path, READER)
    assert found.status == 200
    policy = dict(
        part.split(" ", 1) for part in found.headers["Content-Security-Policy"].split("; ")
    )
    sandbox = policy.pop("sandbox", None)
    assert sandbox == (
        "allow-scripts allow-downloads allow-popups" if path == "/dbt/docs/site" else None
    )
    scripts = policy.pop("script-src").split()
    assert {source for source in scripts if not source.startswith("'sha256-")} == set()
    sources = {source for value in policy.values() for source in value.split()}
    assert sources <= {"'self'", "'none'", "'unsafe-inline'", "data:"}
    assert policy["frame-ancestors"] == "'self'"
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_a_token_in_the_header_opens_them_and_a_wrong_one_does_not(server, path):
    token = server.token(READER)
    assert server.get(path, Authorization=f"Bearer {token}").status == 200
    assert server.get(path, Authorization=f"Bearer {token[:-3]}abc").status == 403


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_address_leads_to_another_file(server, path):
    found = server.get(path, READER)
    assert found.status == 404
    assert "root:" not in found.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(server, method):
    assert server.get("/dbt/docs/", READER, method=method).status == 405


def data_in_site(server, name: str) -> dict:
    """The JSON that dbt's site is given under this name."""
    text = server.get("/dbt/docs/site", READER).text
    element = f'<script type="application/json" id="{name}">'
    return json.loads(text.split(element, 1)[1].split("</script>", 1)[0])


def test_the_site_has_the_manifest_of_the_dags(server, manifest):
    assert data_in_site(server, "manifest") == json.loads(manifest.read_text())


def test_without_a_catalog_the_site_gets_an_empty_one_and_else_the_warehouses(server, manifest):
    empty = {"metadata": {}, "nodes": {}, "sources": {}, "errors": None}
    assert data_in_site(server, "catalog") == empty
    catalog = manifest.with_name("catalog.json")
    catalog.write_text(json.dumps({**empty, "errors": ["no <table>"]}))
    assert data_in_site(server, "catalog")["errors"] == ["no <table>"]
    catalog.unlink()


@pytest.mark.parametrize(
    ("missing", "path", "message"),
    [
        (
            "index.html",
            "/dbt/docs/site",
            "No documentation site beside {manifest}. Build it with: make manifest",
        ),
        ("manifest.json", "/dbt/docs/", "No manifest at {manifest}. Build it with: make manifest"),
        ("manifest.json", "/dbt/dags/dbt_dag", "No manifest at {manifest}. Build it with: make"),
    ],
)
def test_what_was_not_built_is_named_with_the_command_that_builds_it(
    server, manifest, missing, path, message
):
    file, aside = manifest.with_name(missing), manifest.with_name("aside")
    file.rename(aside)
    found = server.get(path, READER)
    aside.rename(file)
    assert found.status == 404
    assert message.format(manifest=manifest) in found.text


@pytest.mark.parametrize(
    "path",
    [
        "/dbt/dags/none_such",
        "/dbt/dags/none_such/tasks/model.jaffle_shop.orders",
        "/dbt/dags/dbt_dag/tasks/model.jaffle_shop.none_such",
    ],
)
def test_what_airflow_does_not_have_has_no_page(server, path):
    assert server.get(path, READER).status == 404


def test_a_page_leads_to_the_docs_below_the_base_path(server):
    found = server.get("/dbt/dags/dbt_dag/tasks/model.jaffle_shop.orders", READER).text
    assert 'href="/air/flow/dbt/docs/#!/model/model.jaffle_shop.orders"' in found
