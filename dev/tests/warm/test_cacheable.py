"""Which manifests are good for further commands, and what is said of the others."""

from __future__ import annotations

import subprocess

import pytest

from .conftest import DBT, INSIDE, make_project

HARMLESS = {
    "models/hooked.sql": """{{ config(
        post_hook="select '{{ invocation_id }}'", unique_key='invocation_id',
        meta={'flags': 'flags.x', 'at': 'run_started_at'})
    }} select '{{ run_started_at }}' as at, 1 as invocation_id""",
    "models/branches.sql": """select {% if flags.WHICH == 'run' %} 1 {% else %} 2 {% endif %} as id
        {% if is_incremental() %} from {{ ref('one') }} {% endif %}""",
    "macros/early.sql": """{% macro early() %}{% if execute %}{{ return(run_started_at.hour < 9) }}
        {% endif %}{% endmacro %}""",
    "models/at_night.sql": """{% if not early() %}{{ config(alias='at_night') }}{% endif %}
        {% if flags.QUIET and execute %}{{ ref('two') }}{% else %}{{ config(tags='x') }}{% endif %}
        select 1 as id -- {{ ref('two') }}""",
    "models/harmless.yml": """
models:
  - name: hooked
    description: "{{ 'at run_started_at' }}"
    config: {pre-hook: "select '{{ run_started_at }}'", group: null}
    columns: [{name: invocation_id, description: of flags.x}, {name: at}]
""",
}
ALIAS = "run_started_at.strftime('%f')"
DECISIVE = {
    "alias": (f"{{{{ config(alias='at_' ~ {ALIAS}) }}}} select 1 as id", "run_started_at"),
    "variable": (
        f"{{% set at = {ALIAS} %}}{{% set name = at %}}{{{{ config(alias=name) }}}} select 1 as id",
        "run_started_at",
    ),
    "branch": (
        "{% if flags.WHICH == 'run' %}{{ config(tags=['x']) }}{% endif %} select 1 as id",
        "flags.WHICH",
    ),
    "else": (
        "{% if execute %}{% elif flags.QUIET %}{{ config(tags='x') }}{% endif %} select 1 as id",
        "flags.QUIET",
    ),
    "execute": (
        "{% set execute = true %}{% if execute and flags.QUIET %}{{ config(tags='x') }}{% endif %} "
        "select 1 as id",
        "flags.QUIET",
    ),
    "dependency": ("select * from {{ ref('one' if flags.QUIET else 'two') }}", "flags.QUIET"),
    "hook": ("{{ config(post_hook='select ' ~ thread(invocation_id)) }} select 1", "invocation_id"),
    "macro": ("{{ config(alias=stamp()) }} select 1 as id", "invocation_id in stamp()"),
    "modules": ("{{ config(meta={'at': modules.datetime.date.today()|string}) }} select 1",
                "modules.datetime"),
}  # fmt: skip
STAMP = """{% macro stamp() %}{{ return('s' ~ invocation_id[:4]) }}{% endmacro %}
{% macro thread(word) %}{{ return(word | length) }}{% endmacro %}"""


@pytest.fixture(scope="module")
def stamped(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("stamped") / "shop")
    (project / "macros" / "stamp.sql").write_text(STAMP)
    return project


def log(warm) -> list[str]:
    (path,) = warm.folder.glob("*.log")
    return path.read_text().splitlines()


def parsed_again(warm, project) -> bool:
    assert warm.run(project, "ls").code == 0
    again = warm.run(project, "ls")
    assert (again.code, again.cold) == (0, False), again.text
    return again.parsed


def test_texts_that_are_rendered_late_do_no_harm(warm, project):
    """Hooks, the SQL of nodes, descriptions; and words that are no expression of Jinja's."""
    for name, text in HARMLESS.items():
        (project / name).write_text(text)
    with open(project / "dbt_project.yml", "a") as file:
        file.write("""snapshots: {+post-hook: "select '{{ invocation_id }}'"}\n""")
    assert not parsed_again(warm, project)


@pytest.mark.parametrize("name", DECISIVE)
def test_what_decides_on_a_node_is_never_kept(warm, stamped, name):
    """The server's log names the node and the word."""
    text, word = DECISIVE[name]
    (stamped / "models" / "decided.sql").write_text(text)
    assert warm.run(stamped, "ls").parsed
    assert name != "alias" or warm.run(stamped, "ls").parsed
    reason = f"does not cache a manifest: model.shop.decided reads {word}"
    assert log(warm)[-1].endswith(reason)
    (stamped / "models" / "decided.sql").unlink()


def test_configuration_in_yaml_and_names_from_macros(warm, stamped):
    yaml = stamped / "models" / "decided.yml"
    yaml.write_text('models: [{name: two, config: {alias: "a{{ invocation_id[:4] }}"}}]\n')
    assert warm.run(stamped, "ls").parsed
    assert log(warm)[-1].endswith("the configuration of model.shop.two reads invocation_id")
    yaml.unlink()
    naming = stamped / "macros" / "alias.sql"
    head = "{% macro generate_alias_name(name=none, node=none) %}"
    naming.write_text(head + "{{ node.name ~ stamp() }}{% endmacro %}")
    assert warm.run(stamped, "ls").parsed
    reason = "macro.shop.generate_alias_name reads a macro that reads such a word"
    assert log(warm)[-1].endswith(reason)
    naming.unlink()
    assert not parsed_again(warm, stamped)


CLOCK = """
import sys, tempfile, time
sys.path.insert(0, sys.argv[1])
import manifest_cache
file = tempfile.NamedTemporaryFile()
changed = manifest_cache.file_states([file.name])[1][0]
class Clock:
    sleep = staticmethod(lambda seconds: None)
    time_ns = staticmethod(lambda: changed + int(float(sys.argv[2]) * 1e9))
manifest_cache.time = Clock
print(bool(manifest_cache.settled_states([file.name])))
"""


@pytest.mark.parametrize(
    ("clock", "settled"), [(-3600, True), (-0.001, True), (0.001, False), (1, True)]
)
def test_clock_that_was_set_back(clock, settled):
    """A change that lies in the future was not made just now."""
    argv = [DBT.resolve().parent / "python", "-c", CLOCK, INSIDE, str(clock)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"{settled}\n"


KEEP = """
import parsing

class Before:
    def parsed(self, manifest):
        raise FileNotFoundError(2, "No such file or directory", "models/gone.sql")

parsing.keep(Before(), None, print)
"""


def test_a_file_that_vanishes_while_dbt_parses_costs_the_cache_and_not_the_command():
    done = subprocess.run(
        [DBT.resolve().parent / "python", "-c", KEEP],
        cwd=INSIDE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "not_cached FileNotFoundError [Errno 2] No such file or directory: 'models/gone.sql'\n"
    )
