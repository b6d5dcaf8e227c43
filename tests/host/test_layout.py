"""Positions and bias of a strip in sequences so short that every number can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hilo_token.comfy_bridge.attention import Attention
from hilo_token.comfy_bridge.layout import Pictures, Segment, make_layout
from hilo_token.comfy_bridge.parts import CONST, PAD, TARGET
from hilo_token.comfy_bridge.probe import Probe
from hilo_token.comfy_bridge.reasons import DenseRun
from hilo_token.hilo_core.plan import TokenPlan, TokenSettings, make_plan

TEXT = (CONST, 3)
KERNEL = Attention.of(None, torch.zeros(1, 2, 4), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), 1), {})
SETTINGS = TokenSettings(dilation=0, amount=0, levels=((2, 0.0),), multiple=1)


def none_to_pad(count):
    return 0


def plan_of(edit_row=0):
    """4x4 tokens, one of them edited, four cells of 2x2: masses 1, 3, 4, 4, 4 in some order."""
    edit = torch.zeros(4, 4, dtype=torch.bool)
    edit[edit_row, 0] = True
    return make_plan(edit, torch.ones(4, 4), SETTINGS)


def ids(length, first=0):
    """Positions that tell each token: its number, twice."""
    return torch.arange(first, first + length, dtype=torch.float)[None, :, None].repeat(1, 1, 2)


def layout(asks, attentions, asked, pictures, strength=1.0, **more):
    probe = Probe(tuple(asks), frozenset(attentions), KERNEL, len(attentions))
    return make_layout(probe, list(asked), pictures, strength, **more)


@pytest.mark.parametrize("text_first", [True, False])
@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
def test_text_and_target(text_first, strength):
    parts = (TEXT, (TARGET, 30)) if text_first else ((TARGET, 30), TEXT)
    plan = plan_of()
    found = layout(
        [parts], [parts], [ids(19)], Pictures(Segment(16, plan), (), none_to_pad), strength, source=1, turn=2
    )
    first = 3 if text_first else 0
    cells = [(0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4, (8 + 9 + 12 + 13) / 4, (10 + 11 + 14 + 15) / 4]
    picture = [first + n for n in (0, *cells)]
    text = [0, 1, 2] if text_first else [16, 17, 18]
    wanted = text + picture if text_first else picture + text
    assert found.positions[0][0, :, 0].tolist() == wanted
    logs = [0.0, math.log(3), *[math.log(4)] * 3]
    logs = [0.0] * 3 + logs if text_first else logs + [0.0] * 3
    assert (found.source, found.turn, found.least, found.seeing, found.lengths) == (1, 2, 5, 1, frozenset({8}))
    if strength:
        assert torch.allclose(found.bias[8].flatten(), strength * torch.tensor(logs))
        assert found.bias_on(torch.device("cpu")) == found.bias_on(torch.device("cpu"))
    else:
        assert not found.bias, "nothing to add"


def test_text_alone_has_no_bias():
    parts = (TEXT, (TARGET, 30))
    found = layout([parts], [parts, (TEXT,)], [ids(19)], Pictures(Segment(16, plan_of()), (), none_to_pad))
    assert set(found.bias) == {8} and found.lengths == {8, 3}


def test_text_that_is_as_long_as_the_strip_cannot_be_told_apart():
    same = (CONST, 8)
    parts = (TEXT, (TARGET, 30))
    with pytest.raises(DenseRun, match="cannot be told apart"):
        layout([parts], [parts, (same,)], [ids(19)], Pictures(Segment(16, plan_of()), (), none_to_pad))


def test_references_are_whole_or_follow():
    """Number 0 follows the plan, number 1 is whole; each has its own place, in the model's order."""
    parts = (TEXT, (1, 12), (TARGET, 30), (0, 15))
    plan = plan_of()
    pictures = Pictures(Segment(16, plan), (Segment(16, plan), Segment(2, None)), none_to_pad)
    found = layout([parts], [parts], [ids(3 + 2 + 16 + 16)], pictures)
    assert found.positions[0].shape == (1, 3 + 2 + 5 + 5, 2)
    assert found.positions[0][0, 3:6, 0].tolist() == [3, 4, 5] and found.positions[0][0, 10, 0] == 3 + 2 + 16
    assert found.bias[15].flatten().exp().round().tolist() == [1] * 5 + [1, 3, 4, 4, 4] * 2
    assert (pictures.references[0].count, pictures.references[1].count) == (5, 2)


def test_pads_weigh_what_the_dense_ones_weigh():
    """Padded to 32: 16 tokens have 16 pads, a strip of 5 has 27; all alike, whatever the bias of cells."""
    parts = (TEXT, (TARGET, 30), (PAD, 2))

    def to_32(count):
        return -count % 32

    found = layout([parts], [parts], [ids(3 + 32)], Pictures(Segment(16, plan_of()), (), to_32), 0.5)
    bias = found.bias[3 + 5 + 27].flatten()
    assert torch.allclose(bias[8:], torch.full((27,), math.log(16 / 27)))
    assert torch.allclose(bias[4], torch.tensor(0.5 * math.log(3)))
    assert found.positions[0].shape == (1, 35, 2) and not found.positions[0][0, 8:].any(), "pads lie at zero"


def test_one_pad_for_many():
    parts = ((TARGET, 30), (PAD, 2))
    found = layout([parts], [parts], [ids(16 + 8)], Pictures(Segment(16, plan_of()), (), lambda n: 8 if n == 16 else 1))
    assert found.bias[6].flatten()[-1] == pytest.approx(math.log(8))


def test_positions_are_one_for_all_pictures_of_a_batch():
    parts = (TEXT, (TARGET, 30))
    found = layout([parts], [parts], [ids(19).repeat(4, 1, 1)], Pictures(Segment(16, plan_of()), (), none_to_pad))
    assert found.positions[0].shape == (1, 8, 2)
    assert (found.source, found.turn) == (None, 0)


def test_a_strip_without_pads_for_a_picture_with_some():
    parts = ((TARGET, 30), (PAD, 2))
    with pytest.raises(DenseRun, match="no pad token"):
        layout([parts], [parts], [ids(17)], Pictures(Segment(16, plan_of()), (), lambda count: int(count == 16)))


@pytest.mark.parametrize("asked", [[], [ids(20)], [ids(18)], [ids(19), ids(19)]], ids=["none", "long", "short", "two"])
def test_a_model_that_asks_otherwise_than_on_the_tiny_picture(asked):
    parts = (TEXT, (TARGET, 30))
    with pytest.raises(DenseRun, match=r"(other|for no) positions"):
        layout([parts], [parts], asked, Pictures(Segment(16, plan_of()), (), none_to_pad))


def test_a_whole_picture_seen_from_afar():
    """A coarse reference: cells of 4 alone."""
    coarse = Segment(16, TokenPlan.of_cells(4, 4, 4))
    parts = ((TARGET, 30), (0, 15))
    found = layout([parts], [parts], [ids(32)], Pictures(Segment(16, plan_of()), (coarse,), none_to_pad))
    assert found.positions[0][0, -1, 0] == 16 + 7.5 and found.bias[6].flatten()[-1] == pytest.approx(math.log(16))
