"""The README says what the code and the stored results say, and its snippets run."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from lab import readme, report, tables
from lab.quality import evaluate
from tools import host

TEXT = readme.README.read_text(encoding="utf-8")
METHOD = host.ROOT / "docs" / "method.md"


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_tables_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run: python -m lab.readme"


def test_every_table_is_on_a_page():
    named = [name for page in readme.PAGES for _, name, _ in readme.BLOCK.findall(page.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(readme.TABLES)


def test_readme_is_short():
    """A reader in a hurry reads it to the end; tables and details have pages of their own."""
    assert len(TEXT.splitlines()) <= 180


def test_report_is_up_to_date():
    texts = [page.read_text(encoding="utf-8") for page in report.PAGES]
    assert [readme.filled(text, report.TABLES) for text in texts] == texts, "run: python -m lab.report"
    named = [name for text in texts for _, name, _ in readme.BLOCK.findall(text)]
    assert sorted(named) == sorted(report.TABLES)
    for name, plot in report.plots().items():
        assert (report.PLOTS / name).read_text(encoding="utf-8") == plot, "run: python -m lab.report"


def test_report_is_short():
    """One that is read: its first screen is the conclusion."""
    text = report.PAGES[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    assert text.split("\n\n")[1].startswith("**Conclusion.**")


@pytest.mark.parametrize("name", ["evaluate", "shipped"])
def test_presets_are_those_that_were_evaluated(name):
    """Whoever changes a preset evaluates it again."""
    assert evaluate.settings() == tables.result(name)["presets"]


def test_snippet_runs():
    (snippet,) = re.findall("```python\n(.*?)```", METHOD.read_text(encoding="utf-8"), re.DOTALL)
    subprocess.run([sys.executable, "-c", snippet], cwd=host.ROOT, check=True)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))))
def test_local_links_exist(target):
    assert (host.ROOT / target).exists()


def test_troubleshooting_quotes_real_messages():
    """Every message of the table stands in the code, where '...' stands for a value."""
    sources = [p for name in ("hilo_core", "comfy_bridge", "nodes") for p in (host.ROOT / name).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    table = TEXT.split("| message | what to do |")[1].split("\n\n")[0]
    messages = re.findall(r"^\| ([^|-][^|]*?) \|", table, re.MULTILINE)
    assert len(messages) >= 6
    for message in messages:
        for part in message.removeprefix("dense run: ").split("..."):
            assert part.strip() in code, message
