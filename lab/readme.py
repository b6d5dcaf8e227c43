"""Fills the tables of the README and of `docs/`: `python -m lab.readme`; `--check` only compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from lab import tables
from lab.speed import tables as speed
from tools import host

README = host.ROOT / "README.md"
TABLES = tables.TABLES | speed.TABLES
PAGES = (README, *sorted((host.ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, tables: dict[str, Callable[[], str]] = TABLES) -> str:
    """The text with every table made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{tables[found[2]]()}{found[3]}", text)


def main() -> int:
    """Write, or with --check compare: 1 if a page is not up to date."""
    old = [page.read_text(encoding="utf-8") for page in PAGES]
    new = [filled(text) for text in old]
    if "--check" in sys.argv:
        return int(new != old)
    for page, text in zip(PAGES, new, strict=True):
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
