"""Never a stale manifest, never another connection's schema."""

from __future__ import annotations

import json
import os
import time
import venv
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import make_project


@pytest.fixture(scope="module")
def changing(tmp_path_factory, warm):
    """A project that these tests change, after a first command."""
    project = make_project(tmp_path_factory.mktemp("changing") / "shop")
    warm.run(project, "ls", SHOP_SCHEMA="changing")
    return project


def rows(query, relation):
    return query(f"select * from {relation}")


def run(warm, project, *arguments, **env):
    result = warm.run(project, "run", "--select", *arguments, **({"SHOP_SCHEMA": "changing"} | env))
    assert (result.code, result.cold) == (0, False), result.text
    return result


def listed(warm, project, *keys, **env):
    """What `dbt ls` says of the model `one`."""
    words = ("-q", "ls", "--select", "one", "--resource-type", "model", "--output", "json")
    env = {"SHOP_SCHEMA": "changing"} | env
    result = warm.run(project, *words, "--output-keys", *keys, **env)
    assert (result.code, result.cold) == (0, False), result.text
    return [json.loads(line) for line in result.text.splitlines()]


def test_unchanged_project_is_not_parsed_again(warm, changing):
    run(warm, changing, "one")
    assert not run(warm, changing, "one").parsed


def test_model(warm, changing, query):
    """Also where dbt's own checksum is the same: it leaves white space out."""
    model = changing / "models" / "one.sql"
    for text in ("a b", "a  b", "1"):
        model.write_text(f"select '{text}' as id")
        run(warm, changing, "one")
        assert rows(query, "changing.one") == [(text,)]


def test_schema_file_with_its_time_kept(warm, changing):
    """dbt itself would not look into it."""
    path = changing / "models" / "models.yml"
    times = os.stat(path)
    path.write_text(path.read_text().replace("first", "later"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (line,) = listed(warm, changing, "description")
    assert line == {"description": "later"}


def test_macro_and_variable_and_project_file(warm, changing, query):
    macros = changing / "macros" / "schema.sql"
    run(warm, changing, "envy", ENVY="first")
    run(warm, changing, "envy", ENVY="second")
    assert rows(query, "changing.envy") == [("second", 42)]
    macros.write_text(macros.read_text().replace("42", "43"))
    run(warm, changing, "envy")
    assert rows(query, "changing.envy") == [("unset", 43)]
    settings = changing / "dbt_project.yml"
    settings.write_text(settings.read_text() + "seeds: {shop: {+enabled: false}}\n")
    assert run(warm, changing, "envy").parsed


def test_vars(warm, changing, query):
    for word in ("hot", "cold"):
        run(warm, changing, "two", "--vars", f"{{word: {word}}}")
        assert [r[1] for r in rows(query, "changing.two")] == [word]


def test_variable_of_a_macro_that_names_schemas(warm, changing):
    """dbt's partial parsing does not see that the schema of every model depends on it."""
    suffixes = ("_a", "_b", "_a")
    found = [listed(warm, changing, "schema", SCHEMA_SUFFIX=suffix) for suffix in suffixes]
    assert found == [[{"schema": f"changing{suffix}"}] for suffix in suffixes]


def test_connections_at_once_each_have_their_schema(warm, changing, query):
    """Two schemas, two targets and a changed profiles.yml, one after the other and at once."""
    jobs = [{"SHOP_SCHEMA": "left"}, {"SHOP_SCHEMA": "right"}, {"DBT_TARGET": "other"}]
    results = []
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            results += pool.map(lambda env: run(warm, changing, "one", **env), jobs)
    names = [r.artifact("run_results.json")["results"][-1]["relation_name"] for r in results]
    schemas = ("left", "right", "other_target") * 2
    assert names == [f'"postgres"."{schema}"."one"' for schema in schemas]
    assert not any(r.parsed for r in results[3:])
    profiles = changing / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("other_target", "changed_target"))
    result = run(warm, changing, "one", DBT_TARGET="other")
    assert query("select count(*) from changed_target.one") == [(1,)], result.text


def test_two_projects(warm, changing, tmp_path, query):
    """Of the same name, at the same time."""
    (changing / "models" / "one.sql").write_text("select 'this' as id")
    other = make_project(tmp_path / "shop")
    (other / "models" / "one.sql").write_text("select 'other' as id")
    for _ in range(2):
        run(warm, changing, "one", SHOP_SCHEMA="p1")
        run(warm, other, "one", SHOP_SCHEMA="p2")
    assert rows(query, "p1.one") == [("this",)]
    assert rows(query, "p2.one") == [("other",)]


def test_what_differs_for_each_command_is_never_kept(warm, changing, query):
    """The time of the run in a name: only a parse of the command's own knows it."""
    model = changing / "models" / "one.sql"
    model.write_text("{{ config(alias='at_' ~ run_started_at.strftime('%f')) }} select 1 as id")
    run(warm, changing, "one", SHOP_SCHEMA="timed")
    run(warm, changing, "one", SHOP_SCHEMA="timed")
    found = query("select count(*) from pg_tables where schemaname = 'timed'")
    assert found == [(2,)]
    # Words in a value are not what Jinja reads.
    words = "{'data_type': 'datetime', 'key': 'command_invocation_id', 'flags': 'a'}"
    model.write_text(f"{{{{ config(meta={words}) }}}} select '{{{{ run_started_at }}}}' as at")
    time.sleep(0.1)
    run(warm, changing, "one", SHOP_SCHEMA="timed")
    assert not run(warm, changing, "one", SHOP_SCHEMA="timed").parsed
    model.write_text("select 1 as id")


def test_dbt_that_was_installed_anew_has_a_new_parent(own_warm, shop, tmp_path, dbt):
    """A virtual environment that takes its packages from dbt's own, and then gets one more."""
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (original,) = dbt.resolve().parents[1].glob("lib/python*/site-packages")
    (packages / "dbt.pth").write_text(str(original))
    executable = tmp_path / "venv" / "bin" / "dbt"
    executable.write_text(f"#!{tmp_path}/venv/bin/python\n" + dbt.read_text().partition("\n")[2])
    executable.chmod(0o755)
    env = {"DBT_EXECUTABLE": str(executable)}

    def servers():
        result = own_warm.run(shop, "-q", "ls", **env)
        assert (result.code, result.cold) == (0, False), result.text
        return set(own_warm.servers())

    before = servers()
    assert servers() == before
    (packages / "another.dist-info").mkdir()
    assert len(servers() - before) == 1


def test_cycle_is_told_to_every_command(warm, changing, query):
    """dbt finds it after parsing. The server lives on, and serves again once it is mended."""
    model = changing / "models" / "one.sql"
    model.write_text("select id from {{ ref('two') }}")
    servers = warm.servers()
    for _ in range(2):
        result = warm.run(changing, "run", "--select", "one", SHOP_SCHEMA="changing")
        assert (result.code, result.cold) == (2, False), result.text
        assert "Found a cycle: " in result.text
    model.write_text("select 1 as id")
    run(warm, changing, "one")
    assert warm.servers() == servers
