"""The real host for all tests. `tools.host` says where it is."""

import logging
import os

import pytest
import torch

from tools import host

host.prepare()
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one worker for each core
torch.set_grad_enabled(False)
torch.manual_seed(0)


@pytest.fixture
def run_log(caplog):
    """The pack's log lines of one test."""
    caplog.set_level(logging.INFO, logger="hilo-token")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "hilo-token"]
