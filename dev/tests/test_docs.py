"""The README and docs/ name only what exists, and name all that a reader should find.

In a clone the user's side may be anything: README.md is read as long as it is the template's, and
only then does each of the user's files have to exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.engine.plan import meta
from include.engine.settings import ROOT, Settings, table

README = ROOT / "README.md"
TITLE = "# dbt on Airflow, one task per model\n"
IS_TEMPLATE = README.exists() and README.read_text().startswith(TITLE)
INDEX = ROOT / "docs" / "README.md"
OTHER_DBT = sorted((ROOT / "dev" / "dbt").glob("*.txt"))
PAGES = (*((README,) if IS_TEMPLATE else ()), *sorted((ROOT / "docs").glob("*.md")))
MAKEFILE = (ROOT / "Makefile").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()

FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
MAKE = re.compile(r"""\bmake((?: +(?:[A-Z]+=(?:'[^']*'|"[^"]*"|\S*)|[a-z][a-z-]*))+)""")
VARIABLE = re.compile(r"(?<![\w.])(?:DBT|WAREHOUSE)_[A-Z][A-Z_]*[A-Z]\b(?![…*])")
# Paths of the engine's side and of the user's. What is made here (.dbt, .airflow)
# is in no clone, and include/dbt/ holds any dbt project.
ENGINE = r"include/engine|plugins|scripts|dev|docs|Makefile|CHANGELOG\.md"
USER = (
    r"dags|tests|\.ci|Dockerfile|docker-compose[\w.-]*|\.env\.example|packages\.txt"
    r"|requirements[\w-]*\.(?:in|txt)"
)
OWNED = f"(?:{ENGINE}|{USER})" if IS_TEMPLATE else f"(?:{ENGINE})"
PATH = re.compile(rf"(?<![\w./:*-])({OWNED}(?:/[\w./-]*)?)(?![\w*/…-])")
ASTRO_COMMANDS = {
    *(
        "bash",
        "build",
        "import",
        "export",
        "init",
        "kill",
        "logs",
        "object",
        "parse",
        "proxy",
        "ps",
    ),
    *("pytest", "restart", "run", "start", "stop", "upgrade-test", "deploy"),
}
SOURCES = ("dev/tests/jaffle_shop", "include/engine", "plugins", "scripts")


def name_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """The text of every code block and code span of the page."""
    text = page.read_text()
    yield from (match[3] for match in FENCED.finditer(text))
    yield from INLINE.findall(FENCED.sub("", text))


def is_users(file: Path) -> bool:
    """Whether the file is of the user's side in a clone, where it may be gone."""
    return not IS_TEMPLATE and bool(re.fullmatch(USER, file.resolve().name))


def make_commands(page: Path) -> Iterator[str]:
    """Each verb (`run`) and each option (`PORT=`) that code on the page gives to make."""
    for snippet in code(page):
        for arguments in MAKE.findall(snippet):
            names = re.sub(r"""=('[^']*'|"[^"]*"|\S*)""", "=", arguments)
            yield from names.split()


def slugs(page: Path) -> set[str]:
    """The anchors of the page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def known_variables() -> set[str]:
    """The environment variables that the project's files name, and those of dbt's command line."""
    files = [file for name in SOURCES for file in (ROOT / name).rglob("*") if file.is_file()]
    files += (ROOT / ".dbt/venv").glob("lib/python*/site-packages/dbt/cli/params.py")
    texts = (file.read_text(errors="ignore") for file in files)
    return {name for text in texts for name in re.findall(r"\b(?:DBT|WAREHOUSE)_[A-Z_]+", text)}


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_each_verb_and_option_of_make_exists(page):
    verbs = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    options = {f"{name}=" for name in re.findall(r"\b[A-Z][A-Z_]+\b", MAKEFILE)}
    assert set(make_commands(page)) - verbs - options == set()


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_each_environment_variable_exists(page):
    assert set(VARIABLE.findall(page.read_text())) - known_variables() == set()


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_each_path_exists(page):
    paths = {path.rstrip(".") for snippet in code(page) for path in PATH.findall(snippet)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_each_link_leads_somewhere(page):
    text = FENCED.sub("", page.read_text())
    links = {(page.parent / file if file else page, anchor) for file, anchor in LINK.findall(text)}
    lost = [
        f"{file}#{anchor}"
        for file, anchor in sorted(links)
        if not (file.exists() or is_users(file)) or (anchor and anchor not in slugs(file))
    ]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_each_block_of_python_compiles(page):
    for _, language, block in FENCED.findall(page.read_text()):
        if language == "python":
            compile(block, page.name, "exec")


def test_each_page_is_in_the_index():
    listed = {file for file, _ in LINK.findall(INDEX.read_text())}
    assert listed == {"../README.md", *(page.name for page in INDEX.parent.glob("*.md"))} - {
        "README.md"
    }


def test_each_public_verb_is_explained():
    public = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    explained = {name for page in PAGES for name in make_commands(page)}
    assert public - explained - {"help"} == set()


def test_each_command_of_the_astro_cli_has_its_row():
    """Those of `astro dev` of version 1.45 (cmd/airflow.go), and those that deploy or run a DAG."""
    table = (ROOT / "docs" / "astro.md").read_text().partition("\n\n## ")[0]
    names = " ".join(line.split(" | ")[0] for line in table.splitlines() if line.startswith("|"))
    explained = {word for span in INLINE.findall(names) for word in span.split()}
    assert ASTRO_COMMANDS - explained == set()


def test_each_setting_is_in_the_table_with_its_default_and_meaning():
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |"
        for name, default, meaning in table()
    ]
    assert [row for row in rows if row not in CONFIGURATION] == []
    assert len(rows) == len(Settings._fields)


def test_each_key_of_meta_airflow_is_in_the_table():
    lines = CONFIGURATION.splitlines()
    names = "".join(line.split(" | ")[0] for line in lines if line.startswith("| `meta"))
    keys = (*meta.KEYS, *meta.DAG_KEYS, *meta.SECTIONS)
    assert sorted(re.findall(r"`meta\.airflow\.(\w+)`", names)) == sorted(keys)


def test_the_override_for_celery_has_all_of_the_templates():
    """The Astro CLI reads one file, so the one for Celery takes the place of the template's."""
    if not IS_TEMPLATE:
        return
    own, celery = (
        yaml.safe_load((folder / "docker-compose.override.yml").read_text())
        for folder in (ROOT, ROOT / "docs" / "celery")
    )
    assert celery["volumes"] == own["volumes"]
    for name, service in own["services"].items():
        for key, value in service.items():
            given = celery["services"][name][key]
            assert given == (value | given if key == "environment" else value), (name, key)


def test_the_readme_of_the_template_is_short():
    assert not IS_TEMPLATE or len(README.read_text().splitlines()) <= 170


def test_the_readme_of_the_template_names_the_versions_of_dbt_that_ci_runs():
    """All of CI runs the first one, `make test-dbt` the others."""
    lines = README.read_text().splitlines() if IS_TEMPLATE else ()
    row = "".join(line for line in lines if line.startswith("| dbt-core"))
    pins = (ROOT / "requirements-dbt.txt", *OTHER_DBT)
    pinned = [re.findall(r"^dbt-core==(\S+)$", file.read_text(), re.M)[0] for file in pins]
    assert not IS_TEMPLATE or re.findall(r"\d+\.\d+\.\d+", row) == pinned


def test_ci_runs_each_of_the_other_versions_of_dbt():
    assert f"\nDBT := {' '.join(file.stem for file in OTHER_DBT)}\n" in MAKEFILE
    (command,) = re.findall(r"^make .* test-dbt .*$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert "DBT=" not in command
