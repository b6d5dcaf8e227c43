"""What the server says in sentences has a translation in each language that the pack speaks."""

from __future__ import annotations

import ast
import json
from string import Formatter

import pytest

from tools import host
from tools.pack import load_pack

SAYING = {"DenseRun", "Said"}
FOLDERS = ("comfy_bridge", "hilo_core", "nodes")


def texts(found, names):
    """Constants that an argument can be: itself, a name of the module's, either branch of a choice."""
    if isinstance(found, ast.Constant):
        return {found.value}
    if isinstance(found, ast.Name):
        return {names[found.id]} if found.id in names else set()
    if isinstance(found, ast.IfExp):
        return texts(found.body, names) | texts(found.orelse, names)
    return set()


def templates():
    """All that the code says, as it stands there."""
    features, uncompressed = load_pack("comfy_bridge.features"), load_pack("comfy_bridge.uncompressed")
    found = {one.text for one in features.FEATURES.values() if one.verdict == features.DENSE}
    found |= set(uncompressed.DENSE.values())
    for path in (path for folder in FOLDERS for path in (host.ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = load_pack(".".join(path.relative_to(host.ROOT).with_suffix("").parts))
        names = {name: one for name, one in vars(module).items() if isinstance(one, str)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SAYING and node.args:
                found |= texts(node.args[0], names)
    return sorted(filter(None, found))


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_each_sentence_is_translated(language):
    words = json.loads((host.ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["hiloTokenSaid"]
    needed = templates()
    assert len(needed) > 40 and not [text for text in needed if text not in words]
    for text, other in words.items():
        places = [len([name for _, name, _, _ in Formatter().parse(one) if name is not None]) for one in (text, other)]
        assert places[0] == places[1], other
