"""The README says what the code and the stored results say, and its snippets run."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from hilo_core.presets import PRESETS
from lab import report
from tools import host, readme

TEXT = readme.README.read_text(encoding="utf-8")


def test_tables_are_up_to_date():
    assert readme.filled(TEXT) == TEXT, "run: python -m tools.readme"
    assert len(re.findall("<!-- table:", TEXT)) == len(readme.TABLES)


def test_report_is_up_to_date():
    text = report.REPORT.read_text(encoding="utf-8")
    assert readme.filled(text, report.TABLES) == text, "run: python -m lab.report"
    assert len(re.findall("<!-- table:", text)) == len(report.TABLES)
    for name, plot in report.plots().items():
        assert (report.PLOTS / name).read_text(encoding="utf-8") == plot, "run: python -m lab.report"


def test_presets_are_those_that_were_evaluated():
    """Whoever changes a preset evaluates it again."""
    stored = readme.result("evaluate")["presets"]
    assert {name: repr(chosen) for name, chosen in PRESETS.items()} == stored


def test_snippet_runs():
    (snippet,) = re.findall("```python\n(.*?)```", TEXT, re.DOTALL)
    subprocess.run([sys.executable, "-c", snippet], cwd=host.ROOT, check=True)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))))
def test_local_links_exist(target):
    assert (host.ROOT / target).exists()


def test_troubleshooting_quotes_real_messages():
    """Every message of the table stands in the code, where '...' stands for a value."""
    sources = [*(host.ROOT / "hilo_core").rglob("*.py"), *(host.ROOT / "nodes").rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    table = TEXT.split("| message | what to do |")[1].split("\n\n")[0]
    messages = re.findall(r"^\| ([^|-][^|]*?) \|", table, re.MULTILINE)
    assert len(messages) >= 6
    for message in messages:
        for part in message.removeprefix("dense run: ").split("..."):
            assert part.strip() in code, message


def test_claims_hold():
    """The goals of the paper, on the demo model."""
    found = readme.result("bench_cpu")["speedup"]["1024"]
    assert found["6.38"] >= 3.13 and found["15.92"] >= 2.59 and found["35.36"] >= 1.67


def test_every_preset_is_named():
    assert all(f"`{name}`" in TEXT for name in PRESETS)
