"""What saved workflows rely on: node ids, input names and their order. `python -m tools.contract` notes new ones.

Widget values are stored by position, so inputs may only be added at the end, and nothing may be renamed or removed.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tools import host
from tools.pack import load_pack

FILE = host.ROOT / "tests" / "contract.json"


def current() -> dict[str, dict[str, list[str]]]:
    """{node id: {"inputs": [...], "outputs": [...]}} of the pack as it is."""
    nodes = asyncio.run(load_pack("nodes").HiLoExtension().get_node_list())
    schemas = [node.define_schema() for node in nodes]
    return {s.node_id: {"inputs": [i.id for i in s.inputs], "outputs": [o.id for o in s.outputs]} for s in schemas}


def broken(old: dict[str, dict[str, list[str]]], new: dict[str, dict[str, list[str]]]) -> list[str]:
    """What changed otherwise than by growing at the end."""
    wrong = [f"{node} is gone" for node in old if node not in new]
    for node, sides in old.items():
        for side, names in sides.items():
            if node in new and new[node][side][: len(names)] != names:
                wrong.append(f"{node}: {side} were {names}, now {new[node][side]}")
    return wrong


def main() -> int:
    """Write the file, unless that would break it."""
    host.prepare()
    new = current()
    old = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for text in broken(old, new):
        sys.stderr.write(f"{text}\n")
    if broken(old, new):
        return 1
    FILE.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
