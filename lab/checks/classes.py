"""The classes that the host makes models of, and which of them HiLo-Token knows: `python -m lab.checks.classes`.

Read from the host's `comfy/model_base.py` without running it: what each model there gives as its network. Prints each
class with the family, the reason for dense runs, or what it is without tokens; ends with 1 if one is not known.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

from tools import host

host.prepare()
_log = logging.getLogger(__name__)


def classes(folder: Path) -> set[str]:
    """module:class of each network of a host."""
    tree = ast.parse((folder / "comfy" / "model_base.py").read_text(encoding="utf-8"))
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: f"{node.module}:{alias.name}" for alias in node.names}
    found = set()
    for value in _networks(tree):
        name = ast.unparse(value)
        if "." in name or name in imported:
            module, _, kind = name.rpartition(".")
            found.add(imported.get(name, f"{module}:{kind}"))
    return found


def _networks(tree: ast.AST) -> Iterator[ast.expr]:
    """Whatever is given as `unet_model`, or is its default."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "unet_model":
            yield node.value
        if isinstance(node, ast.arguments):
            for argument, default in zip(reversed(node.args), reversed(node.defaults), strict=False):
                if argument.arg == "unet_model":
                    yield default


def verdicts(found: set[str]) -> dict[str, str]:
    """For each class what HiLo-Token does with it; '' if it does not know it."""
    from hilo_token.comfy_bridge.families import FAMILIES
    from hilo_token.comfy_bridge.uncompressed import instead_of_tokens, why_dense

    said = {}
    for path in sorted(found):
        families = [f.name for f in FAMILIES if f.model_class == path]
        dense, other = why_dense(path), instead_of_tokens(path)
        said[path] = ", ".join(families) or (dense and f"dense: {dense}") or (other and f"refused: {other}")
    return said


def main() -> None:
    """Prints the list."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    said = verdicts(classes(host.folder()))
    for path, verdict in said.items():
        _log.info("%-64s %s", path, verdict or "NOT KNOWN")
    unknown = [path for path, verdict in said.items() if not verdict]
    _log.info("%d classes, %d not known", len(said), len(unknown))
    raise SystemExit(1 if unknown else 0)


if __name__ == "__main__":
    main()
