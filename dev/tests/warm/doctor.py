"""A dbt that differs from the one that was tested in one thing; cold it works as before."""

from __future__ import annotations

import json
import venv
from pathlib import Path

# Changes dbt's modules while they are imported: the words of `rename`, and what `more` has to add.
FINDER = """
import importlib.machinery, re, sys
CHANGE = {change}

class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        source = self.get_source(fullname)
        more = CHANGE["more"] if fullname == CHANGE["module"] else ""
        for old, new in CHANGE["rename"]:
            source, count = re.subn(old, new, source)
            more = more or " " * count
        if not more:
            return super().get_code(fullname)
        return compile(source + more, self.path, "exec")

class Finder:
    @staticmethod
    def find_spec(name, path, target=None):
        if not name.startswith(("dbt.", "dbt_common.")):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec

sys.meta_path.insert(0, Finder)
"""
WRAP = """

def _doctor(owner, name):
    import functools, inspect
    plain = inspect.getattr_static(owner, name)
    function = getattr(plain, "__func__", plain)

    @functools.wraps(function)
    def changed(*args, more=None, **named):
        return _changed(function(*args, **named))

    signature = inspect.signature(function)
    extra = inspect.Parameter("more", inspect.Parameter.KEYWORD_ONLY, default=None)
    if {argument}:
        changed.__signature__ = signature.replace(
            parameters=[*signature.parameters.values(), extra]
        )
    else:
        changed.__signature__ = signature
    static = isinstance(plain, (staticmethod, classmethod))
    setattr(owner, name, type(plain)(changed) if static else changed)

def _changed(value):
    if not {returned} or value is None:
        return value
    if hasattr(type(value), "__members__"):  # no class can be made of an enumeration
        return str(value.value)
    kind = type("Other", (type(value),), {{}})
    if type(value).__module__ == "builtins":
        return kind(value)
    value.__class__ = kind
    return value

_doctor({owner}, {name!r})
"""


def renamed(name: str) -> dict:
    word = name.rpartition(".")[2].rpartition(":")[2]
    pattern = rf"\b{word}\b"
    if word == "compile":  # others have that name, too
        pattern = (
            r"(?<=compiler\.)compile\b|(?<=def )compile(?=\(\s*self,\s*manifest: Manifest,\s*write)"
        )
    return {"module": "", "more": "", "rename": [[pattern, f"{word}_2"]]}


def wrapped(name: str, *, argument: bool) -> dict:
    """Takes another argument, or returns another type."""
    module, _, path = name.partition(":")
    owner, _, attribute = path.rpartition(".")
    owner = owner or "__import__('sys').modules[__name__]"
    more = WRAP.format(argument=argument, returned=not argument, owner=owner, name=attribute)
    return {"module": module, "more": more, "rename": []}


def make_dbt(folder: Path, dbt: Path, change: dict) -> Path:
    """A virtual environment that takes its packages from that of `dbt`, and changes them."""
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (original,) = dbt.resolve().parents[1].glob("lib/python*/site-packages")
    (packages / "dbt.pth").write_text(f"{original}\nimport doctor\n")
    text = FINDER.replace("{change}", f"__import__('json').loads({json.dumps(change)!r})")
    (packages / "doctor.py").write_text(text)
    executable = folder / "bin" / "dbt"
    executable.write_text(f"#!{folder}/bin/python\n" + dbt.read_text().partition("\n")[2])
    executable.chmod(0o755)
    return executable
