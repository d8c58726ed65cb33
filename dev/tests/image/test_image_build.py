"""What `docker build` makes of the project."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid

import yaml

from dev.tests import sample
from dev.tests.image.astro import HOME, Project, run
from dev.tests.image.conftest import FIGURES

VENV = "uv venv .dbt/venv"
FROM = re.compile(r"^FROM (\S+)$", re.MULTILINE)
COMPILE = "include.engine.manifest.build"


def executed(output: str) -> set[str]:
    """Of dbt's two RUN steps, those that the build did not take from its cache."""
    steps = dict(re.findall(r"^#(\d+) \[[^\]]*\] (RUN .*)$", output, re.MULTILINE))
    cached = set(re.findall(r"^#(\d+) CACHED$", output, re.MULTILINE))
    ran = " ".join(step for number, step in steps.items() if number not in cached)
    return {step for step in (VENV, COMPILE) if step in ran}


def timed(what: str, project: Project) -> set[str]:
    began = time.monotonic()
    output = project.build().stdout
    FIGURES.append(f"{what}: {time.monotonic() - began:.1f} s")
    return executed(output)


def test_a_build_without_a_change_takes_every_step_from_its_cache(another):
    assert timed("image built again, nothing changed", another) == set()


WRITTEN_BY_THE_CLI = (
    ".astro/config.yaml.lock",
    ".astro/dbt_metadata.json",
    ".astro/manifest.slim.json",
    ".astro/standalone/airflow.db",
    ".astro/local.local.yaml",
    "include/dbt/.astro/dbt_metadata.json",
    "include/dbt/.astro/manifest.slim.json",
    ".env",
    ".venv/pyvenv.cfg",
    "airflow_settings.yaml",
)


def test_what_the_cli_writes_is_ignored_by_git_and_changes_no_image(another):
    for name in WRITTEN_BY_THE_CLI:
        file = another.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(time.time()))
    run(["git", "init", "--quiet"], cwd=another.folder)
    asked = ("git", "-c", "safe.directory=*", "check-ignore", "--no-index", *WRITTEN_BY_THE_CLI)
    ignored = run(asked, cwd=another.folder, check=False).stdout
    assert ignored.splitlines() == list(WRITTEN_BY_THE_CLI)
    assert executed(another.build().stdout) == set()
    found = another.in_image(f"ls -d {' '.join(WRITTEN_BY_THE_CLI)} 2>/dev/null; true").stdout
    assert found == ""


def test_a_changed_dag_builds_nothing_of_dbts(another):
    dag = another.folder / "dags" / "dbt_dag.py"
    dag.write_text(dag.read_text() + "\n# changed\n")
    assert timed("image built again, a DAG changed", another) == set()


def test_a_changed_model_compiles_and_installs_nothing(another):
    # A name that no earlier build has seen, whose layers the engine may still have.
    model = another.folder / f"include/dbt/models/added_{uuid.uuid4().hex[:8]}.sql"
    model.write_text("select 1 as id\n")
    assert timed("image built again, a model changed", another) == {COMPILE}


def test_a_project_that_dbt_cannot_read_fails_the_build_with_what_dbt_says_of_it(another):
    (another.folder / "include/dbt/models/broken.sql").write_text("select * from {{ ref('no') }}\n")
    built = another.build(check=False)
    end = "\n".join(built.stdout.splitlines()[-30:])
    assert built.returncode != 0
    assert (
        "Model 'model.jaffle_shop.broken' (models/broken.sql) depends on a node named 'no'" in end
    )
    assert "dbt parse failed with exit code 2" in end


def test_an_image_is_built_without_the_dags_folder(another):
    """Astro builds so where DAGs are deployed apart from the image."""
    ignored = another.folder / ".dockerignore"
    ignored.write_text(ignored.read_text() + "\ndags\n")
    another.build()
    found = another.in_image("ls -d dags .dbt/manifest/*; true").stdout.split("\n")
    assert ".dbt/manifest/manifest.json" in found
    assert "dags" not in found


TASKS = """python -c "
from airflow.dag_processing.dagbag import DagBag
bag = DagBag('dags')
print(bag.import_errors, *sorted(task for dag in bag.dags.values() for task in dag.task_ids))
" | tail -1"""


def test_a_project_of_astro_dbt_deploy_is_found_by_itself(project, another, tmp_path):
    """The image has no dbt project. Astro mounts it, with what dbt made in it, for reading only."""
    shop = tmp_path / "shop"
    shutil.move(another.folder / "include/dbt", shop)
    shutil.copy(sample.SOURCE / "profiles.yml", shop)  # for dbt by hand
    another.build()
    for folder in (tmp_path, shop):
        folder.chmod(0o777)
    place = f"{HOME}/dbt/shop"
    parse = f"cd {place} && {HOME}/.dbt/venv/bin/dbt --quiet parse --log-path /tmp/logs"
    another.in_image(parse, "--volume", f"{shop}:{place}")
    found = another.in_image(TASKS, "--volume", f"{shop}:{place}:ro").stdout
    assert found == project.in_image(TASKS).stdout
    assert found.startswith("{} ")
    assert " model.jaffle_shop.orders " in found


def test_packages_of_dbt_lie_outside_the_folders_that_are_mounted(another):
    """The host's include/ lies over the image's, and the model of a package still runs."""
    # For dbt by hand, which has no Airflow connection here.
    shutil.copy(sample.SOURCE / "profiles.yml", another.folder / "include/dbt")
    package = another.folder / "include/dbt/local_package"
    (package / "models").mkdir(parents=True)
    (package / "dbt_project.yml").write_text("name: extra\nversion: 1.0.0\n")
    (package / "models" / "from_a_package.sql").write_text("select 1 as id\n")
    (another.folder / "include/dbt/packages.yml").write_text("packages: [{local: local_package}]\n")
    another.build()
    listed = another.in_image(
        "cd include/dbt && DBT_PACKAGES_INSTALL_PATH=$HOME_/.dbt/packages"
        " ../../.dbt/venv/bin/dbt --quiet ls --select package:extra"
        " --target-path /tmp/t --log-path /tmp/l",
        *("--env", f"HOME_={HOME}", "--volume", f"{another.folder}/include:{HOME}/include:ro"),
    )
    assert (listed.stdout.strip(), listed.returncode) == ("extra.from_a_package", 0)


def test_the_image_is_little_more_than_the_runtime(project):
    """dbt's environment without caches, tests and the parser that nothing uses."""
    runtime = base_image(project)
    sizes = {name: size(project, name) for name in (project.name, runtime)}
    more = sizes[project.name] - sizes[runtime]
    FIGURES.append(f"image: {sizes[project.name]} MB, {more} MB more than {runtime}")
    assert more < 150
    packages = project.in_image(
        "cd .dbt/venv/lib/*/site-packages && ls -d * */tests"
    ).stdout.split()
    assert "networkx" in packages
    # dbt/tests stays: dbt's packages have macros in folders of that name.
    tests = {name for name in packages if name.endswith("/tests")} - {"dbt/tests"}
    assert tests | {name for name in packages if "experimental_parser" in name} == set()


def base_image(project: Project) -> str:
    """The Astro Runtime of the last stage."""
    return FROM.findall((project.folder / "Dockerfile").read_text())[-1]


def size(project: Project, image: str) -> int:
    """Megabytes."""
    found = project.docker("image", "inspect", "--format", "{{.Size}}", image)
    return int(found.stdout) // 1_000_000


def test_everything_runs_and_is_owned_by_the_user_of_the_runtime(project):
    owners = (
        "id -un; find .dbt include/dbt ! -user astro | head; touch .dbt/shared/x && echo written"
    )
    assert project.in_image(owners).stdout.split() == ["astro", "written"]


def test_a_task_that_has_ended_frees_its_slot_within_a_second(project):
    """And as many heartbeats may be lost as before, in seconds."""
    script = "python -c 'from airflow.sdk.execution_time import supervisor; print({}, {})'".format(
        "supervisor.MIN_HEARTBEAT_INTERVAL", "supervisor.MAX_FAILED_HEARTBEATS"
    )
    assert project.in_image(script).stdout.split()[-2:] == ["1", "15"]


def test_serialized_dags_are_compressed(project):
    script = "airflow config get-value core compress_serialized_dags"
    assert project.in_image(script).stdout.split()[-1] == "True"


def test_no_secret_and_no_host_is_in_the_manifest(project):
    """dbt compiled with the defaults of profiles.yml; what it made has not even those."""
    text = project.in_image("cat .dbt/manifest/manifest.json").stdout
    assert {word for word in ("localhost", "127.0.0.1", "password") if word in text} == set()


def test_the_image_says_where_the_manifest_was_if_it_is_gone(project):
    script = 'rm -r .dbt/manifest && python -c "{}"'.format(
        "from airflow.dag_processing.dagbag import DagBag;"
        "print(*DagBag('dags').import_errors.values())"
    )
    assert (
        f"No manifest at {HOME}/.dbt/manifest/manifest.json. Build it with: make manifest"
        in project.in_image(script).stdout
    )


def test_the_pytest_of_the_runtime_stays_as_it_is(project):
    """requirements.txt names pytest for another way to run: `astro dev pytest --standalone`."""
    asked = "python -m pytest --version"
    asked_of_runtime = (
        "run",
        "--rm",
        "--network",
        "none",
        base_image(project),
        "bash",
        "-c",
        asked,
    )
    own = project.docker(*asked_of_runtime).stdout
    assert project.in_image(asked).stdout == own
    assert own.startswith("pytest ")


def test_astro_dev_parse_is_green(project):
    done = project.pytest(".astro/test_dag_integrity_default.py")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


def test_astro_dev_pytest_is_green(project):
    began = time.monotonic()
    done = project.pytest("tests/")
    FIGURES.append(f"astro dev pytest: {time.monotonic() - began:.1f} s")
    assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout


def test_the_image_of_astro_dev_upgrade_test_is_built_and_imports_the_dags(another):
    """The CLI writes the new version over all that follows the colon of each FROM line."""
    file = another.folder / "Dockerfile"
    version = base_image(another).partition(":")[2]
    file.write_text(re.sub(r"^(FROM [^:\n]+):.*$", rf"\1:{version}", file.read_text(), flags=re.M))
    assert FROM.findall(file.read_text()) == [base_image(another)] * 2
    another.build()
    done = another.pytest(".astro/test_dag_integrity_default.py")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


SCAFFOLD = (
    *(".gitignore", ".dockerignore", "packages.txt", "requirements.txt", "Dockerfile", "README.md"),
    *(".astro/dag_integrity_exceptions.txt", ".astro/test_dag_integrity_default.py"),
)
"""What `astro dev init` writes where it is not there, besides what it adds to this project."""

ADDED_BY_INIT = {
    ".env": "",
    "dags/.airflowignore": "",
    "dags/exampledag.py": """
from airflow.sdk import DAG, task

with DAG("example", schedule="@daily", tags=["example"], default_args={"retries": 3}):

    @task
    def greet():
        print("Hello")

    greet()
""",
    "airflow_settings.yaml": """
airflow:
  connections: [{conn_id: , conn_type: }]
  pools: [{pool_name: , pool_slot: }]
  variables: [{variable_name: , variable_value: }]
""",
    "tests/dags/test_dag_example.py": """
import pytest
from airflow.dag_processing.dagbag import DagBag

DAGS = DagBag().dags

@pytest.mark.parametrize("dag_id", DAGS)
def test_retries_and_tags(dag_id):
    assert DAGS[dag_id].tags
    assert DAGS[dag_id].default_args.get("retries", None) >= 2
""",
}


def test_what_astro_dev_init_does_not_add_is_there(project):
    assert [name for name in SCAFFOLD if not (project.folder / name).exists()] == []
    assert [name for name in ADDED_BY_INIT if (project.folder / name).exists()] == []


def test_what_astro_dev_init_adds_breaks_nothing(another):
    """Its example DAG and test, as far as they are about this project."""
    for name, text in ADDED_BY_INIT.items():
        (another.folder / name).parent.mkdir(exist_ok=True)
        (another.folder / name).write_text(text)
    config = another.folder / ".astro" / "config.yaml"
    config.write_text("project:\n  name: another-name\n")
    another.build()
    for asked in ("tests/", ".astro/test_dag_integrity_default.py"):
        done = another.pytest(asked)
        assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout


def test_a_dag_file_in_a_bundle_elsewhere_finds_the_images_include_and_manifest(project):
    """`astro deploy --dags` puts DAG files into a folder with no include beside it."""
    script = (
        "import json; from airflow.dag_processing.dagbag import DagBag;"
        "bag = DagBag('/bundles/a/dags');"
        "print(json.dumps([bag.import_errors, len(bag.dags['dbt_dag'].tasks)]))"
    )
    mount = ("--volume", f"{project.folder}/dags:/bundles/a/dags:ro", "--workdir", "/tmp")
    shown = project.in_image(f'rm -r {HOME}/dags; python -c "{script}"', *mount).stdout
    graph = (project.folder / "dev/tests/dag/sample_graph.txt").read_text().splitlines()
    assert json.loads(shown.splitlines()[-1]) == [{}, len(graph)]


def test_the_warehouse_is_published_on_this_machine_alone_and_beside_airflows_database(project):
    override = yaml.safe_load((project.folder / "docker-compose.override.yml").read_text())
    warehouse = override["services"]["warehouse"]
    options = "-c client_connection_check_interval=2s -c idle_in_transaction_session_timeout=4min"
    assert warehouse["command"] == f"postgres {options}"
    assert warehouse["ports"] == ["127.0.0.1:${WAREHOUSE_PORT:-5433}:5432"]
    assert warehouse["volumes"] == ["warehouse:/var/lib/postgresql/data"]
