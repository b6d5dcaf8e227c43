"""Saved workflows keep working: ids, names and order only grow at the end."""

from __future__ import annotations

import json

from tools import contract


def test_contract_is_kept():
    old = json.loads(contract.FILE.read_text(encoding="utf-8"))
    new = contract.current()
    assert not contract.broken(old, new)
    assert old == new, "run: python -m tools.contract"


def test_breaking_is_noticed():
    old = {"A": {"inputs": ["x", "y"], "outputs": ["o"]}, "B": {"inputs": [], "outputs": []}}
    new = {"A": {"inputs": ["y", "x"], "outputs": ["o", "p"]}}
    assert len(contract.broken(old, new)) == 2
    assert not contract.broken(old, {**old, "A": {"inputs": ["x", "y", "z"], "outputs": ["o"]}})
