"""Breaks a module in one place at a time and asks whether a test notices.

    python -m lab.checks.mutate hilo_core/cells.py hilo_core/plan.py --tests tests/core [--jobs 2] [--limit 100]

Works in copies of the tree (folders that start with a dot are linked), so that the tree itself never changes. Each
worker loads torch and the host once and forks for each mutant, so this needs a system that can fork. Prints each
survivor with its line before and after, and the share that was killed by module; ends with 1 if one survived.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed module."""

    path: str
    line: int
    before: str
    after: str
    source: str


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Other nodes that could stand in this one's place."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Call) and len(node.args) == 2 and not _is_symmetric(node):
        yield ast.Call(node.func, node.args[::-1], node.keywords)
    elif isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise)) and not _is_text(node):
        yield ast.Pass()
    elif isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _is_symmetric(call: ast.Call) -> bool:
    """Exchanged arguments would change nothing, or cannot be exchanged."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in ("min", "max", "minimum", "maximum", "equal") or any(isinstance(a, ast.Starred) for a in call.args)


def _is_text(node: ast.AST) -> bool:
    """A docstring: nothing to be tested."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """(parent, field, index in it) of every node within code that runs; annotations do not."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
                yield node, name, index
                yield from _places(child)


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(source)
    for number, (parent, name, index) in enumerate(list(_places(tree))):
        node = getattr(parent, name) if index is None else getattr(parent, name)[index]
        for variant in variants(node):
            changed = copy.deepcopy(tree)
            where, _, _ = list(_places(changed))[number]
            new = ast.fix_missing_locations(ast.copy_location(copy.deepcopy(variant), node))
            if index is None:
                setattr(where, name, new)
            else:
                getattr(where, name)[index] = new
            yield Mutant(path, node.lineno, ast.unparse(node), ast.unparse(variant), ast.unparse(changed))


def copy_tree(target: Path) -> None:
    """The tree without what its owner hides; environments and caches are linked."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", "__pycache__"), symlinks=True)
    for hidden in ROOT.glob(".*"):
        if hidden.name not in (".git", ".gpu", ".hypothesis") and not hidden.name.endswith("_cache"):
            (target / hidden.name).symlink_to(hidden.resolve())


def survives(tests: list[str], timeout: float) -> bool:
    """Whether the tests pass in a child of this process, in time; the tree is the working directory."""
    child = os.fork()
    if not child:
        import pytest
        from hypothesis import Phase, settings

        settings.register_profile("mutate", phases=(Phase.explicit, Phase.generate))  # any failure will do
        settings.load_profile("mutate")
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.setpgrp()
        os._exit(int(pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests])))
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def work(tests: list[str], timeout: float) -> None:
    """A worker: a mutant on each line of the input, a verdict on each line of the output."""
    sys.dont_write_bytecode = True
    from tools import host

    host.prepare()
    import comfy.sd  # noqa: F401  # once for all children
    import hypothesis  # noqa: F401
    import scipy.ndimage  # noqa: F401

    for line in sys.stdin:
        path, source = json.loads(line)
        module = Path(path)
        kept = module.read_text(encoding="utf-8")
        module.write_text(source, encoding="utf-8")
        alive = survives(tests, timeout)
        module.write_text(kept, encoding="utf-8")
        sys.stdout.write(f"{int(alive)}\n")
        sys.stdout.flush()


class Worker:
    """A process with a tree of its own."""

    def __init__(self, tree: Path, options: argparse.Namespace) -> None:
        copy_tree(tree)
        command = [sys.executable, "-m", "lab.checks.mutate", "--worker", "--timeout", str(options.timeout)]
        quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*command, "--tests", *options.tests], cwd=tree, env=quiet, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def alive(self, path: str, source: str) -> bool:
        """Whether a mutant survives."""
        self.process.stdin.write(json.dumps([path, source]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("A worker ended.")
        return answer.strip() == "1"


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="paths within the repository")
    parser.add_argument("--tests", nargs="+", required=True, help="what pytest is given")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one mutant")
    parser.add_argument("--limit", type=int, default=0, help="so many mutants of each module at random; 0: all")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.tests, given.timeout)
        return 0
    found: list[Mutant] = []
    for path in given.modules:
        here = list(mutants(path, (ROOT / path).read_text(encoding="utf-8")))
        found += random.Random(0).sample(here, min(given.limit or len(here), len(here)))
    survivors: list[Mutant] = []
    waiting, lock = iter(found), threading.Lock()

    def run(worker: Worker) -> None:
        while True:
            with lock:
                mutant = next(waiting, None)
            if mutant is None:
                return
            if worker.alive(mutant.path, mutant.source):
                with lock:
                    survivors.append(mutant)
                    sys.stdout.write(f"survived {mutant.path}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}\n")
                    sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(Path(folder) / f"tree{number}", given) for number in range(given.jobs)]
        first = given.modules[0]
        if not workers[0].alive(first, (ROOT / first).read_text(encoding="utf-8")):
            sys.stderr.write("The tests fail before anything is broken.\n")
            return 2
        threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for worker in workers:
            worker.process.stdin.close()
            worker.process.wait()
    for path in given.modules:
        total, alive = (sum(m.path == path for m in group) for group in (found, survivors))
        sys.stdout.write(f"{path}: {total - alive} of {total} killed, {100 * (total - alive) / max(1, total):.0f} %\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
