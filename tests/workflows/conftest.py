"""The real server, one for each file of tests."""

from __future__ import annotations

import pytest

from tools.server import ComfyServer


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        yield running
