"""The soak in small; in full it is `python -m lab.soak --rounds 200`."""

from __future__ import annotations

import sys

from lab import soak


def test_probes_stay_as_a_fresh_servers(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["soak", "--rounds", "4"])
    assert soak.main() == 0


def test_a_probe_that_differs_is_found(monkeypatch):
    """The soak can fail."""
    plain = soak.probe
    monkeypatch.setattr(sys, "argv", ["soak", "--rounds", "1"])
    monkeypatch.setattr(soak, "probe", lambda server, name, number: plain(server, name, number) + 1e-6 * number)
    assert soak.main() == 1
