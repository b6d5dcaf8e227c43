"""Drives a running ComfyUI through its API, one run at a time, and keeps what was done so that it can go on."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hilo_token.hilo_core import HiLoError
from hilo_token.hilo_core.likeness import likeness
from hilo_token.hilo_core.mask import is_edited
from hilo_token.hilo_core.words import as_text
from PIL import Image

from tools.server import ComfyServer, Result

from .graph import SAMPLERS, SAVE, Prompt, ready

DENSE = "off"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Remote(ComfyServer):
    """A server that runs already, here or elsewhere."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def log_lines(self) -> list[str]:
        """Its log is not ours to see."""
        return []

    def upload(self, name: str, data: bytes) -> str:
        """Put a picture into its input folder; gives the name to load it by."""
        edge = uuid.uuid4().hex
        words = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png'
        head = f"--{edge}\r\n{words}\r\n\r\n"
        more = f'\r\n--{edge}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--{edge}--\r\n'
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        asked = urllib.request.Request(f"{self.url}/upload/image", head.encode() + data + more.encode(), kind)
        with urllib.request.urlopen(asked, timeout=120) as answer:
            reply = json.load(answer)
        return "/".join(filter(None, [reply.get("subfolder", ""), reply["name"]]))

    def picture(self, file: dict[str, str]) -> Image.Image:
        """A picture that a run showed."""
        with urllib.request.urlopen(f"{self.url}/view?{urllib.parse.urlencode(file)}", timeout=120) as answer:
            return Image.open(io.BytesIO(answer.read())).convert("RGB")


def pairs(pictures: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """(name, picture, mask) of each picture; a mask has the picture's name, or that with _mask. HiLoError otherwise."""
    found = sorted(p for p in pictures.iterdir() if p.suffix.lower() in SUFFIXES and not p.stem.endswith("_mask"))
    if not found:
        raise HiLoError(f"There is no picture in {pictures.name}.")
    answer = []
    for picture in found:
        fitting = [masks / f"{stem}{end}" for stem in (picture.stem, f"{picture.stem}_mask") for end in SUFFIXES]
        mask = next((m for m in fitting if m.exists() and m != picture), None)
        if mask is None:
            raise HiLoError(f"{picture.name} has no mask: put {picture.stem}.png, white where it is to change, there.")
        if Image.open(picture).size != Image.open(mask).size:
            raise HiLoError(f"{picture.name} and its mask have unequal sizes. Make the mask as large as the picture.")
        answer.append((picture.stem, picture, mask))
    return answer


@dataclass
class Runs:
    """All runs of one comparison, in a folder that has what is done already."""

    server: Remote
    prompt: Prompt
    folder: Path
    presets: list[str]
    seeds: list[int]
    nodes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
        self.file, setup = self.folder / "records.jsonl", self.folder / "setup.json"
        same = hashlib.sha256(json.dumps([self.prompt, self.nodes], sort_keys=True).encode()).hexdigest()
        if setup.exists() and json.loads(setup.read_text(encoding="utf-8"))["workflow"] != same:
            raise HiLoError("The folder has runs of another workflow. Give another --out.")
        setup.write_text(json.dumps({"workflow": same}), encoding="utf-8")
        whole = "".join(json.dumps(record) + "\n" for record in self.records())  # without a line that was cut off
        self.file.write_text(whole, encoding="utf-8")

    def records(self) -> list[dict[str, Any]]:
        """What is done. A last line that was cut off by an interrupt does not count."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        found = [json.loads(line) for line in lines[:-1]]
        with contextlib.suppress(json.JSONDecodeError):
            found += [json.loads(line) for line in lines[-1:]]
        return found

    def shown(self, name: str, seed: int, preset: str) -> Path:
        """The picture of one run."""
        return self.folder / "pictures" / f"{name}_{seed}_{preset}.png"

    def one_picture(self, name: str, picture: Path, mask: Path) -> None:
        """All runs of one picture that are not done yet."""
        done = {(r["picture"], r["seed"], r["preset"]) for r in self.records()}
        files: tuple[str, str] | None = None
        for seed in self.seeds:
            for preset in (DENSE, *self.presets):
                if (name, seed, preset) in done and self.shown(name, seed, preset).exists():
                    continue
                files = files or self._upload(name, picture, mask)
                self._run(name, seed, preset, files, mask)

    def _upload(self, name: str, picture: Path, mask: Path) -> tuple[str, str]:
        photo, hole = Image.open(picture).convert("RGB"), Image.open(mask).convert("L")
        photo.putalpha(hole.point(lambda value: 255 - value))
        return self.server.upload(f"hilo_{name}.png", _png(photo)), self.server.upload(
            f"hilo_{name}_mask.png", _png(hole.convert("RGB"))
        )

    def _run(self, name: str, seed: int, preset: str, files: tuple[str, str], mask: Path) -> None:
        prompt = ready(self.prompt, *files, seed, preset, self.nodes)
        result = self.server.queue(prompt)
        shown = self.server.picture(result.outputs[SAVE]["images"][0])
        shown.save(self.shown(name, seed, preset))
        record = {"picture": name, "seed": seed, "preset": preset, **_times(result, prompt)}
        if preset != DENSE:
            record |= self._figures(name, seed, shown, mask)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _figures(self, name: str, seed: int, shown: Image.Image, mask: Path) -> dict[str, Any]:
        dense = Image.open(self.shown(name, seed, DENSE)).convert("RGB")
        hole = Image.open(mask).convert("L").resize(dense.size, Image.Resampling.NEAREST)
        edited = is_edited(torch.from_numpy(np.asarray(hole, dtype=np.float32) / 255))
        found = likeness(_tensor(shown), _tensor(dense), edited)
        outside = (_tensor(shown) - _tensor(dense)).abs()[~edited]
        return {"psnr": found.psnr, "ssim": found.ssim, "worst_psnr": found.worst_psnr, "worst": list(found.worst),
                "sharper": found.sharper, "rougher": found.rougher,
                "outside": float(outside.max()) if len(outside) else None}  # fmt: skip


def _times(result: Result, prompt: Prompt) -> dict[str, Any]:
    """Seconds of the sampler's node as it was seen from here, and what the run's own report says."""
    sampler = next((n for n, node in prompt.items() if node["class_type"] in SAMPLERS), "")
    reports = [m["data"] for m in result.messages if m["type"] == "hilo-token.report"]
    own = {k: reports[-1].get(k) for k in ("kept", "total", "speedup", "predicted")} if reports else {}
    for one in reports[-1:]:
        own |= {"reason": as_text(one["reason"]), "note": "; ".join(as_text(note) for note in one["notes"])}
    return {"seconds": result.seconds.get(sampler), **own}


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


def _png(picture: Image.Image) -> bytes:
    made = io.BytesIO()
    picture.save(made, "PNG")
    return made.getvalue()
