"""What the nodes share: types, words, and what they send to the screen."""

from __future__ import annotations

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..hilo_core.auto import AUTO, MEANING
from ..hilo_core.presets import PRESETS
from ..hilo_core.words import in_parts

CATEGORY = "HiLo-Token"
LONGEST = 1024  # px a side of a picture that is only shown
HiLoPlan = io.Custom("HILO_PLAN")
FitWire = io.Custom("HILO_FIT")
_MEANINGS = {**{name: preset.meaning for name, preset in PRESETS.items()}, AUTO: MEANING}
PRESET_TOOLTIP = "How much is kept.\n" + "\n".join(f"{name}: {meaning}" for name, meaning in _MEANINGS.items())


def advanced(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """An input that the front end folds away. A host that does not know the word (before 0.9) hands it on as it is."""
    if "advanced" in inspect.signature(kind.Input.__init__).parameters:
        return kind.Input(*args, advanced=True, **kwargs)
    made = kind.Input(*args, **kwargs)
    made.extra_dict = {**(made.extra_dict or {}), "advanced": True}
    return made


def schema(**given: Any) -> io.Schema:
    """A node's schema; words that an older host does not know are left out (`search_aliases` came after 0.3.75)."""
    return io.Schema(**{name: value for name, value in given.items() if name in io.Schema.__dataclass_fields__})


def host_server() -> Any:
    """The host's server; None when nodes run without one."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def before_and_after(before: Tensor, after: Tensor) -> dict[str, Any]:
    """What the front end shows to compare two pictures: the first of each batch, (B, H, W, 3), made small for it."""
    return {"hilo_compare": _sent([before, after])}


def pictures_side_by_side(layers: dict[str, Tensor], shown: str) -> dict[str, Any]:
    """What the front end shows to compare the first of `layers`, each (B, H, W, 3), with the others by name.

    shown: the name of the one that is shown first.
    """
    names = [next(iter(layers)), shown, *(name for name in list(layers)[1:] if name != shown)]
    return {"hilo_compare": _sent([layers[name] for name in names]), "hilo_compare_names": names}


def _sent(pictures: list[Tensor]) -> list[Any]:
    """The first of each batch as a file that the front end may ask for; all written at the same time."""

    def sent(picture: Tensor) -> Any:
        return ui.PreviewImage(_small(picture[:1])).as_dict()["images"][0]

    with ThreadPoolExecutor() as pool:
        return list(pool.map(sent, pictures))


def on_node(*said: str) -> dict[str, Any]:
    """What the front end writes on a node, in the user's language."""
    return {"hilo_said": [in_parts(one) for one in said]}


def _small(picture: Tensor) -> Tensor:
    """At most `LONGEST` px a side."""
    height, width = picture.shape[1:3]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.interpolate(picture.movedim(-1, 1).float(), size, mode="area").movedim(1, -1)


def _asking() -> tuple[Any, str | None]:
    """(server, id of the client whose prompt runs), as the host itself addresses its messages."""
    server = host_server()
    return server, getattr(server, "client_id", None)


def node_id(node: type[io.ComfyNode]) -> str | None:
    """The running node's id on the canvas."""
    return node.hidden.unique_id if node.hidden else None


def show_on_node(number: str | None, text: str) -> None:
    """A line under the node of that id, on the screen of the client that asked; to no client, no message."""
    server, client = _asking()
    if number is not None and client is not None:
        server.send_progress_text(text, number, client)


def send_report(number: str | None, facts: dict[str, Any]) -> None:
    """A run's report for the node of that id, to the client that asked."""
    server, client = _asking()
    if number is not None and client is not None:
        server.send_sync("hilo-token.report", {"node": number, **facts}, client)


def send_state(number: str | None, state: str, **facts: Any) -> None:
    """What a run is about to do, for the badge of the node of that id: "off", or "running" with `kept` and `total`."""
    server, client = _asking()
    if number is not None and client is not None:
        server.send_sync("hilo-token.state", {"node": number, "state": state, **facts}, client)
