"""The real server, one for each process of tests: a start takes as long as many prompts."""

from __future__ import annotations

import pytest

from tools.server import ComfyServer


@pytest.fixture(scope="session")
def server():
    with ComfyServer() as running:
        yield running
