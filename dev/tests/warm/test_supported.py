"""What the warm dbt replaces in dbt is in a table, and with another dbt commands run cold."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from .conftest import DBT, INSIDE, LAUNCHER
from .doctor import make_dbt, renamed, wrapped

CODE = f"{LAUNCHER.parents[1]}:{INSIDE}"
COMPARE = """
import json, sys
import supported, warmup, worker, parsing, reset, project_hooks

def attributes():
    owners = [m for n, m in sys.modules.items() if n.partition(".")[0] in ("dbt", "dbt_common")]
    owners += [v for o in owners for v in vars(o).values()
               if isinstance(v, type) and v.__module__ == o.__name__]
    found = {}
    for owner in owners:
        name = getattr(owner, "__qualname__", "")
        module = owner.__module__ if name else owner.__name__
        for key, value in list(vars(owner).items()):
            if callable(value) or isinstance(value, (staticmethod, classmethod)):
                found[f"{module}:{name}{'.' if name else ''}{key}"] = value
    return found

before = attributes()
warmup.prepare()
parsing.install({}, print)
after = attributes()
print(json.dumps([
    sorted(key for key in before.keys() & after if before[key] is not after[key]),
    sorted(row.name for row in supported.REPLACED),
]))
"""
FEW = [
    ("dbt.compilation:Compiler.compile", "argument"),
    ("dbt.parser.manifest:ManifestLoader.get_full_manifest", "type"),
]


def table() -> list[str]:
    code = "import supported; print(*(row.name for row in supported.REPLACED))"
    return run_python(code).split()


def run_python(code: str, *arguments: str) -> str:
    python = DBT.resolve().parent / "python"
    done = subprocess.run(
        [python, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": CODE},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_table_has_all_that_is_replaced():
    """At most ten. Of the locks' context, which is an object, an attribute is replaced."""
    changed, rows = json.loads(run_python(COMPARE))
    names = {row for row in rows if row != "dbt.mp_context:_MP_CONTEXT"}
    assert set(changed) == names
    assert len(rows) <= 10


@pytest.mark.parametrize(
    ("installed", "works"), [("1.9.4", False), ("1.12.0", True), ("2.0", False)]
)
def test_versions_that_were_tested(installed, works):
    code = f"""
import supported
supported.version = lambda name: {installed!r}
print(supported.mismatch(()))"""
    reason = f"dbt-core {installed} was not tested with the warm dbt (1.10, 1.11, 1.12 were)\n"
    assert run_python(code) == ("\n" if works else reason)


def every_change() -> list[tuple[str, str]]:
    """All of them with DBT_DOCTORED=all, which takes minutes."""
    if os.environ.get("DBT_DOCTORED") != "all":
        return FEW
    functions = [name for name in table() if name[-1] != "k" and "_MP_" not in name]
    return [
        *((name, "renamed") for name in table()),
        *((name, kind) for name in functions for kind in ("argument", "type")),
    ]


@pytest.mark.parametrize(("name", "change"), every_change())
def test_another_dbt(own_warm, shop, tmp_path, name, change):
    """Commands succeed; the log of one that runs cold says what differs."""
    changes = {
        "renamed": lambda: renamed(name),
        "argument": lambda: wrapped(name, argument=True),
        "type": lambda: wrapped(name, argument=False),
    }
    dbt = make_dbt(tmp_path / "venv", DBT, changes[change]())
    kept = {"DBT_MANIFEST_CACHE": str(tmp_path / "parsed")}
    for argv in (("run", "--select", "one"), ("test", "--select", "not_null_one_id")):
        result = own_warm.run(shop, *argv, DBT_EXECUTABLE=str(dbt), **kept)
        assert result.code == 0, result.text
        if change != "type":
            assert f"dbt starts cold: {name} of dbt-core 1." in result.text
    assert not result.cold or result.text.startswith(f"dbt starts cold: {name} of dbt-core 1.")


LIST = """
import json, pathlib, pkgutil, sys
import warmup
folder = pathlib.Path(sys.argv[1])
def listed():
    found = pkgutil.iter_modules([str(folder), "/no/such/folder"], "a.")
    return [[module.name, module.ispkg] for module in found]
cold = listed()
warmup.prepare()
warm = [listed(), listed()]
(folder / "dbt_new").mkdir()
(folder / "dbt_new" / "__init__.py").touch()
print(json.dumps([cold, *warm, listed()]))
"""


def test_the_modules_of_a_folder_are_listed_again_when_it_has_changed(tmp_path):
    """dbt finds its plugins in such a list."""
    (tmp_path / "dbt_old.py").touch()
    said = run_python(LIST, str(tmp_path))
    cold, first, second, changed = json.loads(said)
    assert cold == first == second == [["a.dbt_old", False]]
    assert changed == [["a.dbt_new", True], ["a.dbt_old", False]]
