"""Breaks a module in one place at a time and asks whether a test notices.

    python -m lab.checks.mutate hilo_core/cells.py hilo_core/plan.py --test "python -m pytest -x -q tests/core"

Works in a copy of the tree (folders that start with a dot are linked), so that the tree itself never changes. Prints
each survivor with its line before and after, and the share that was killed; ends with 1 if one survived.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
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
    elif isinstance(node, ast.Call) and len(node.args) == 2 and not any(isinstance(a, ast.Starred) for a in node.args):
        yield ast.Call(node.func, node.args[::-1], node.keywords)
    elif isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise)) and not _is_text(node):
        yield ast.Pass()
    elif isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _is_text(node: ast.AST) -> bool:
    """A docstring: nothing to be tested."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _places(node: ast.AST, top: bool = True) -> Iterator[tuple[ast.AST, str, int | None]]:
    """(parent, field, index in it) of every node within code that runs; annotations do not."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
                yield node, name, index
                yield from _places(child, False)


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
        if hidden.name != ".git" and not hidden.name.endswith("_cache"):
            (target / hidden.name).symlink_to(hidden.resolve())


def killed(tree: Path, command: list[str], timeout: float) -> bool:
    """Whether the tests fail, or do not end."""
    quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=quiet, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", help="paths within the repository")
    parser.add_argument("--test", required=True, help="a command that ends with 0 if all is well; run in the copy")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one mutant")
    parser.add_argument("--limit", type=int, default=0, help="so many mutants at random; 0: all")
    given = parser.parse_args()
    found = [m for path in given.modules for m in mutants(path, (ROOT / path).read_text(encoding="utf-8"))]
    if given.limit:
        found = random.Random(0).sample(found, min(given.limit, len(found)))
    with tempfile.TemporaryDirectory() as folder:
        tree, command, alive = Path(folder) / "tree", shlex.split(given.test), 0
        copy_tree(tree)
        if killed(tree, command, given.timeout):
            sys.stderr.write("The tests fail before anything is broken.\n")
            return 2
        for mutant in found:
            module = tree / mutant.path
            kept = module.read_text(encoding="utf-8")
            module.write_text(mutant.source, encoding="utf-8")
            if not killed(tree, command, given.timeout):
                alive += 1
                sys.stdout.write(f"survived {mutant.path}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}\n")
                sys.stdout.flush()
            module.write_text(kept, encoding="utf-8")
    share = 100 * (len(found) - alive) / max(1, len(found))
    sys.stdout.write(f"{len(found) - alive} of {len(found)} mutants killed, {share:.0f} %\n")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
