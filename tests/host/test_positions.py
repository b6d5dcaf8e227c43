"""The stand-in for a model's position embedder: passes through, records, answers; for its own thread alone."""

from __future__ import annotations

import threading

import pytest
import torch
from hilo_token.comfy_bridge.positions import Positions, TablePositions, idle, recording, replaying, stand_in
from hilo_token.comfy_bridge.reasons import DenseRun
from hilo_token.hilo_core.errors import HiLoError


class Doubling(torch.nn.Module):
    """An embedder."""

    theta = 7

    def forward(self, ids):
        return ids * 2


def table(size, device=None):
    """A method that cuts a table to size: as many rows as the size says."""
    return torch.full((1, size[0], 2), 1.0)


IDS = torch.arange(4.0).reshape(1, 4, 1)


def test_idle_is_the_embedder_itself():
    embedder = stand_in(Doubling())
    assert isinstance(embedder, Positions) and idle()
    assert torch.equal(embedder(IDS), IDS * 2) and embedder.theta == 7
    with pytest.raises(AttributeError):
        embedder.nothing  # noqa: B018
    cut = stand_in(table)
    assert isinstance(cut, TablePositions) and cut((3, 1)).shape == (1, 3, 2)


def test_a_function_that_others_hung_on_the_embedder_stays_theirs():
    embedder = Doubling()
    embedder.original = lambda: 1
    with pytest.raises(AttributeError):
        stand_in(embedder).original  # noqa: B018


def test_what_is_no_embedder_is_refused():
    with pytest.raises(HiLoError, match="unknown kind"):
        stand_in(3)


@pytest.mark.parametrize("embedder", [Doubling(), table], ids=["module", "method"])
def test_recording_notes_each_ask_and_leaves_after_the_last(embedder):
    asked, mine, after = stand_in(embedder), IDS if isinstance(embedder, torch.nn.Module) else (4, 1), []
    with recording() as all_of_them:
        asked(mine), asked(mine)
        assert not idle()
        after.append("went on")
    with recording(2) as two:
        asked(mine), asked(mine)
        after.append("should have left")
    assert len(all_of_them) == len(two) == 2 and after == ["went on"] and idle()
    assert all_of_them[0].shape[1] == 4
    asked(mine)
    assert len(two) == 2, "nothing is noted afterwards"


def test_replaying_answers_in_order():
    embedder, first, second = stand_in(Doubling()), torch.full((1, 4, 1), 5.0), torch.full((1, 4, 1), 6.0)
    with replaying([first, second]) as left:
        assert not idle()
        assert torch.equal(embedder(IDS.repeat(3, 1, 1)), first.expand(3, -1, -1) * 2) and len(left) == 1
        assert torch.equal(embedder(IDS.double()), second.double() * 2) and not left
    assert torch.equal(embedder(IDS), IDS * 2) and idle()
    cut = stand_in(table)
    with replaying([first]):
        assert torch.equal(cut((9, 9), "cpu"), first)


def test_replaying_refuses_another_order():
    """More asks, or of another length; fewer, unless the model did not run at all."""
    embedder, answer = stand_in(Doubling()), torch.full((1, 4, 1), 5.0)
    with pytest.raises(DenseRun, match="other positions"), replaying([answer]):
        embedder(IDS[:, :3])
    with pytest.raises(DenseRun, match="other positions"), replaying([answer]):
        embedder(IDS), embedder(IDS)
    with pytest.raises(DenseRun, match="fewer positions"), replaying([answer, answer]):
        embedder(IDS)
    with replaying([answer, answer]):
        pass  # a cache left the model out
    with pytest.raises(ZeroDivisionError), replaying([answer]):
        raise ZeroDivisionError
    assert idle()


def test_another_thread_is_not_concerned():
    embedder, out = stand_in(Doubling()), []
    with replaying([torch.full((1, 4, 1), 5.0)]), recording() as asked:
        other = threading.Thread(target=lambda: out.append((embedder(IDS), idle())))
        other.start()
        other.join()
        embedder(IDS)
    assert torch.equal(out[0][0], IDS * 2) and out[0][1] and not asked
