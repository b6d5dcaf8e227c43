"""Many pictures through a server: pairs of files, the prompt of a run, going on after an interrupt, statistics."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hilo_token.hilo_core import HiLoError
from PIL import Image

from lab.compare import graph, report, statistics
from lab.compare.runs import Runs, pairs
from tools.server import Result, ServerError

WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
    "2": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-fill-dev.safetensors"}},
    "3": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    "4": {"class_type": "HiLoModelPatch", "inputs": {"model": ["2", 0], "preset": "quality"}},
    "5": {"class_type": "KSampler", "inputs": {"model": ["4", 0], "seed": 7, "latent_image": ["8", 0]}},
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["3", 0]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "mine"}},
    "8": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["3", 0]}},
}


class Server:
    """Gives a grey picture, other ones for presets, and cuts the power after so many runs."""

    def __init__(self, runs=10**6):
        self.left, self.prompts = runs, []

    def upload(self, name, data):
        return name

    def queue(self, prompt):
        if not self.left:
            raise ServerError("the power is cut")
        self.left -= 1
        self.prompts.append(prompt)
        return Result({graph.SAVE: {"images": [{"preset": prompt["4"]["inputs"]["preset"]}]}}, {"5": 1.0}, [])

    def picture(self, file):
        return Image.new("RGB", (64, 48), (100, 100, {"off": 100, "fast": 110, "balanced": 103}[file["preset"]]))


@pytest.fixture
def folders(tmp_path):
    """Three pictures and their masks."""
    for name in ("pictures", "masks"):
        (tmp_path / name).mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (64, 48)).save(tmp_path / "pictures" / f"{name}.png")
        mask = Image.new("L", (64, 48))
        mask.paste(255, (16, 8, 48, 40))
        mask.save(tmp_path / "masks" / f"{name}{'_mask' if name == 'b' else ''}.png")
    return tmp_path


def run_all(server, folder, presets=("fast", "balanced")):
    runs = Runs(server, WORKFLOW, folder / "out", list(presets), [1, 2])
    for one in pairs(folder / "pictures", folder / "masks"):
        runs.one_picture(*one)
    return runs


def test_one_runs_prompt():
    made = graph.ready(WORKFLOW, "p.png", "m.png", 5, "off", {})
    assert "7" not in made and "6" not in made, "nothing of the user's is written"
    assert made["1"]["inputs"]["image"] == "p.png" and made["5"]["inputs"]["seed"] == 5
    assert made["4"]["inputs"]["preset"] == "off" and made[graph.DECODE]["inputs"] == {
        "samples": ["5", 0],
        "vae": ["3", 0],
    }
    assert WORKFLOW["1"]["inputs"]["image"] == "mine.png" and graph.models(made) == [
        "flux1-fill-dev.safetensors",
        "ae.safetensors",
    ]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"nodes": [], "links": []}, "Export"),
        ({"1": {"class_type": "KSampler", "inputs": {}}}, "no HiLo Model Patch"),
    ],
)
def test_other_files_are_one_sentence(wrong, words):
    with pytest.raises(HiLoError, match=words):
        graph.check(wrong)


def test_two_samplers_have_to_be_told_apart():
    two = {**WORKFLOW, "9": WORKFLOW["5"]}
    with pytest.raises(HiLoError, match="2 nodes of KSampler"):
        graph.ready(two, "p", "m", 1, "fast", {})
    assert graph.ready(two, "p", "m", 1, "fast", {"sampler": "9"})[graph.DECODE]["inputs"]["samples"] == ["9", 0]


def test_unequal_sizes_and_missing_masks(folders):
    assert [one[2].stem for one in pairs(folders / "pictures", folders / "masks")] == ["a", "b_mask", "c"]
    Image.new("L", (48, 64)).save(folders / "masks" / "a.png")
    with pytest.raises(HiLoError, match="its mask have unequal sizes"):
        pairs(folders / "pictures", folders / "masks")
    (folders / "masks" / "a.png").unlink()
    with pytest.raises(HiLoError, match="has no mask: put"):
        pairs(folders / "pictures", folders / "masks")


@pytest.mark.parametrize("cut", [0, 1, 7, 17])
def test_an_interrupted_comparison_goes_on(folders, cut):
    """Whenever the power is cut, and if the last line is lost half written, each run is made once more at most."""
    first = Server(cut)
    with pytest.raises(ServerError):
        run_all(first, folders)
    records = folders / "out" / "records.jsonl"
    if cut == 7:
        records.write_text(records.read_text()[:-20])
    second = Server()
    runs = run_all(second, folders)
    assert len(first.prompts) + len(second.prompts) == 18 + (cut == 7)
    done = [(r["picture"], r["seed"], r["preset"]) for r in runs.records()]
    assert len(done) == len(set(done)) == 18
    with pytest.raises(HiLoError, match="another workflow"):
        Runs(second, {**WORKFLOW, "9": WORKFLOW["7"]}, folders / "out", ["fast"], [1])


def test_a_damaged_record_is_not_lost_without_a_word(folders):
    """An interrupt cuts the last line; any other is somebody's, and is not thrown away."""
    run_all(Server(), folders)
    records = folders / "out" / "records.jsonl"
    damaged = records.read_text().replace("}", "", 1)
    records.write_text(damaged)
    with pytest.raises(json.JSONDecodeError):
        run_all(Server(), folders)
    assert records.read_text() == damaged


def test_report_has_all_and_hides_names(folders):
    runs = run_all(Server(), folders)
    found = report.write(runs, {"models": "m"})
    fast = 20 * np.log10(255 / (10 / 3**0.5))  # one channel of three, ten steps of 255 apart
    assert found["presets"]["fast"]["psnr"] == pytest.approx([fast] * 3, abs=1e-3)
    assert found["psnr_difference"]["fast - balanced"][0] == pytest.approx(20 * np.log10(3 / 10), abs=1e-3)
    page = (folders / "out" / "report.html").read_text()
    assert page.index("seed 1, fast") < page.index("seed 1, balanced"), "the worst first"
    assert len(list((folders / "out" / "sheets").iterdir())) == 12
    report.measured(found, folders / "m.json")
    names = {r["picture"] for r in json.loads((folders / "m.json").read_text())["records"]}
    assert names == {"picture 1", "picture 2", "picture 3"}
    runs.seeds = [2]
    assert {r["seed"] for r in report.write(runs, {})["records"]} == {2}, "what was not asked for does not count"


def test_intervals():
    values = np.random.default_rng(3).normal(30, 2, 40)
    mean, low, high = statistics.interval(values)
    half = 1.96 * values.std() / 40**0.5  # of the normal approximation
    assert mean == pytest.approx(values.mean()) and low == pytest.approx(mean - half, abs=0.15)
    assert high == pytest.approx(mean + half, abs=0.15) and statistics.interval([1.0]) is None


def test_seeds_are_no_pictures_and_differences_are_paired():
    """Pictures differ by 20 dB, presets on each by 1: the pairing finds that, whatever the seeds."""
    rows = [
        {"picture": f"p{p}", "seed": s, "preset": n, "psnr": 20 + 4 * p + (n == "a") + 0.1 * s}
        for p in range(6) for s in range(5) for n in "ab"
    ]  # fmt: skip
    assert len(statistics.by_picture(rows, "psnr")) == 6
    assert statistics.paired(rows, "a", "b", "psnr") == pytest.approx((1.0, 1.0, 1.0))
    _, low, high = statistics.interval(
        list(statistics.by_picture([r for r in rows if r["preset"] == "a"], "psnr").values())
    )
    assert high - low > 5
