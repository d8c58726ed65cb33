"""What each row of include/engine/inside/supported.py saves: CPU milliseconds of one warm command.

    python -m dev.benchmarks.warm_rows

Two servers take turns: one with all rows, one without this row. Their commands are a `dbt run` and
a `dbt test` of one model, as tasks start them. CPU is that of servers and workers, not of clients
and not of workers that end, as each does that has parsed.
Prints the median of the rounds, least and greatest. A row that is there for other reasons than
speed may cost something.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from dev.benchmarks.warm_command import IN_A_TASK, cpu_seconds, generate
from dev.tests.postgres import run_postgres
from dev.tests.warm.conftest import DBT, INSIDE, LAUNCHER, make_warm

COMMANDS = (("run", "--select", "m3"), ("test", "--select", "m3"))
WITHOUT = """

import importlib as _importlib
import inspect as _inspect
import supported as _supported

_owner, _, _attribute = {name!r}.replace(":", ".").rpartition(".")
try:
    _owner = _importlib.import_module(_owner)
except ImportError:
    _owner = _supported.resolve({name!r}.rpartition(".")[0])
_original, _replace = _inspect.getattr_static(_owner, _attribute), {function}


def {function}(*arguments):
    _replace(*arguments)
    setattr(_owner, _attribute, _original)
    vars(_original).pop("get_context", None) if _attribute == "_MP_CONTEXT" else None
"""


class Contender:
    """The warm dbt, without one row."""

    def __init__(self, scratch: Path, postgres: Path, project: Path, without: str) -> None:
        self.code = Path(tempfile.mkdtemp(dir=scratch))
        for room in ("inside", "warm"):
            shutil.copytree(LAUNCHER.parents[2] / room, self.code / room)
        for file, function in (("warm/warmup.py", "prepare"), ("inside/parsing.py", "install")):
            if without:
                with (self.code / file).open("a") as code:
                    code.write(WITHOUT.format(name=without, function=function))
        self.warm = make_warm(postgres, scratch)
        self.project = project

    def cost(self, rounds: int) -> float:
        """CPU milliseconds of a command, the mean of so many rounds."""
        self.run()
        before = {pid: cpu_seconds(pid) for pid in self.warm.processes()}
        for _ in range(rounds):
            self.run()
        after = {pid: cpu_seconds(pid) for pid in self.warm.processes()}
        used = sum(after.values()) - sum(before.get(pid, 0.0) for pid in after)
        return used * 1000 / rounds / len(COMMANDS)

    def run(self) -> None:
        for words in COMMANDS:
            (_, *argv), env, _ = self.warm.command(self.project, *words, **IN_A_TASK)
            subprocess.run(
                [self.code / "warm" / "bin" / "dbt", *argv], env=env | {"DBT_EXECUTABLE": str(DBT)},
                check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip


def rows() -> list[str]:
    code = "import supported; print(*(row.name for row in supported.REPLACED))"
    argv = [DBT.resolve().parent / "python", "-c", code]
    done = subprocess.run(argv, cwd=INSIDE, check=True, capture_output=True, text=True)
    return done.stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5, help="in which the two take turns")
    parser.add_argument("--commands", type=int, default=10, help="of each kind in a round")
    parser.add_argument("--only", nargs="+", default=rows(), help="names of rows")
    options = parser.parse_args()
    with run_postgres() as postgres, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        scratch = Path(folder)
        project = generate(scratch / "project", options.models)
        whole = Contender(scratch, postgres, project, "")
        whole.cost(2)
        for name in options.only:
            other = Contender(scratch, postgres, project, name)
            other.cost(2)
            time.sleep(3 + options.models / 400)  # the servers prepare what they can
            turns = [
                (whole.cost(options.commands), other.cost(options.commands))
                for _ in range(options.rounds)
            ]
            other.warm.stop()
            saved = [without - with_it for with_it, without in turns]
            base = statistics.median(with_it for with_it, _ in turns)
            print(
                f"{statistics.median(saved):7.1f} ms ({min(saved):.1f} to {max(saved):.1f})"
                f" of {base + statistics.median(saved):.1f}  {name}",
                flush=True,
            )
        whole.warm.stop()


if __name__ == "__main__":
    main()
