"""What the nodes share: types, words, and what they send to the screen."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from comfy_api.latest import io

from ..hilo_core.presets import PRESETS

CATEGORY = "HiLo-Token"
HiLoPlan = io.Custom("HILO_PLAN")
FitWire = io.Custom("HILO_FIT")
PRESET_TOOLTIP = "How much is kept.\n" + "\n".join(f"{name}: {preset.meaning}" for name, preset in PRESETS.items())


def advanced(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """An input that newer front ends fold away; older hosts do not know the word and show it."""
    if "advanced" in inspect.signature(kind.Input.__init__).parameters:
        kwargs["advanced"] = True
    return kind.Input(*args, **kwargs)


def schema(**given: Any) -> io.Schema:
    """A node's schema; words that an older host does not know are left out (`search_aliases` came after 0.3.75)."""
    return io.Schema(**{name: value for name, value in given.items() if name in io.Schema.__dataclass_fields__})


def host_server() -> Any:
    """The host's server; None when nodes run without one."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


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
