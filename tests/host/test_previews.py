"""What previews show of a compressed run: the whole picture, at each step."""

from __future__ import annotations

import comfy.sample
import comfy.utils
import folder_paths
import latent_preview
import numpy as np
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.taesd.taesd import TAESD
from hilo_token.comfy_bridge.patch import Patch, patch_model
from safetensors.torch import save_file

from .cases import case
from .conftest import BALANCED, FLUX, SIZE


def sample(model, edit, steps, callback):
    """A compressed run that calls back at each step."""
    return comfy.sample.sample(
        patch_model(model, Patch(BALANCED)),
        edit.noise, steps, 1.0, "euler", "simple", edit.positive, edit.negative, edit.latent,
        noise_mask=edit.mask, seed=3, disable_pbar=True, callback=callback,
    )  # fmt: skip


@pytest.fixture
def small_decoder(tmp_path, monkeypatch):
    """A TAESD of random weights where the host looks for it; its pictures have contrast."""
    torch.manual_seed(31)
    decoder = TAESD(latent_channels=16).taesd_decoder
    for parameter in decoder.parameters():
        (torch.nn.init.kaiming_normal_ if parameter.ndim > 1 else torch.nn.init.zeros_)(parameter)
    seen = decoder(torch.randn(1, 16, 24, 32))
    decoder[-1].weight.data /= 4 * seen.std()
    decoder[-1].bias.data = 0.5 - seen.mean(dim=(0, 2, 3)) / (4 * seen.std())
    save_file(decoder.state_dict(), tmp_path / "taef1_decoder.safetensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.TAESD)


def test_preview_through_a_small_decoder(model, small_decoder, monkeypatch):
    """What KSampler sends to the browser with TAESD previews: pictures of the whole canvas, that of the original far
    from the edit, another one inside."""
    sent = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda at, total, preview, **kw: sent.append(preview))
    monkeypatch.setattr(latent_preview, "MAX_PREVIEW_RESOLUTION", 4096)
    edit = case(FLUX, 24, 96)
    sample(model, edit, 2, latent_preview.prepare_callback(patch_model(model, Patch(BALANCED)), 2))
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    assert isinstance(previewer, latent_preview.TAESDPreviewerImpl)
    clean = previewer.decode_latent_to_preview(model.model.process_latent_in(edit.latent).to(model.load_device))
    clean = np.asarray(clean).astype(int)
    assert len(sent) == 2 and clean.std() > 20
    for _, picture, *_ in sent:
        assert picture.size == (96 * 8, 24 * 8) and picture.mode == "RGB"
        difference = np.abs(np.asarray(picture).astype(int) - clean)
        assert difference[:, 48 * 8 :].max() <= 1 < 20 < difference[:, : 20 * 8].max()


def test_preview_sees_the_picture(model):
    """The callback's x and denoised picture have the latent's size, the outside is the original, none is lost."""
    edit, seen = case(FLUX, *SIZE), []

    def callback(step, denoised, x, total):
        seen.append((step, total, denoised.clone(), x.shape))

    sample(model, edit, 3, callback)
    assert [step for step, *_ in seen] == [0, 1, 2] and {total for _, total, *_ in seen} == {3}
    clean = model.model.process_latent_in(edit.latent)
    for _, _, denoised, shape in seen:
        assert denoised.shape == shape == edit.latent.shape
        assert (denoised - clean)[(edit.mask == 0).expand_as(clean)].abs().max().item() == 0.0
