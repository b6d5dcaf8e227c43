"""POST /hilo_token/plan: the token map of a picture for the front end's live preview. Nothing is queued."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web
from comfy_api.latest import io

from ...comfy_bridge.auto import setting_of
from ...comfy_bridge.known import comparisons
from ...comfy_bridge.planning import said, with_speedup
from ...hilo_core import HiLoError
from ...hilo_core.auto import AUTO
from ...hilo_core.plan import make_plan
from ...hilo_core.render import COLOURS, kind_map
from ..inputs import check_widgets
from ..masks import Growth
from ..settings import token_settings
from .sources import CHANNELS, Change, Hint, Source, from_files, remembered

MOST_REQUEST = 16_384  # bytes, unpacked
Schemas = Mapping[str, io.Schema]
_few_at_a_time = asyncio.Semaphore(2)


class Unreadable(ValueError):
    """A request that is none of this route's."""


def add_route(routes: web.RouteTableDef, schemas: Schemas) -> None:
    """Put the route beside the host's own. schemas: of the nodes whose widgets are sent."""

    @routes.post("/hilo_token/plan")
    async def answer(request: web.Request) -> web.Response:
        try:
            asked = await read(request)
            async with _few_at_a_time:
                return web.json_response(await asyncio.to_thread(preview, asked, schemas))
        except Unreadable:
            return web.json_response({"error": "The request cannot be read."}, status=400)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": "The request is too large."}, status=413)
        except Hint as hint:
            return web.json_response({"hint": hint.code, **hint.facts})
        except HiLoError as error:
            return web.json_response({"hint": "bad_values", "message": str(error)})


async def read(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request. Unreadable if it is none, HTTPRequestEntityTooLarge beyond `MOST_REQUEST`."""
    body = bytearray()
    try:
        async for part in request.content.iter_any():  # unpacked by the server as it comes
            body += part
            if len(body) > MOST_REQUEST:
                raise web.HTTPRequestEntityTooLarge(MOST_REQUEST, len(body))
        asked = json.loads(body.decode(request.charset or "utf-8"))
    except web.HTTPException:
        raise
    except Exception as error:  # packing, charset, JSON and its depth: each library has errors of its own
        raise Unreadable from error
    texts = ("image", "mask", "channel", "key", "run")
    good = isinstance(asked, dict) and isinstance(asked.get("values"), dict)
    if not good or not all(isinstance(asked.get(name), str | None) for name in texts):
        raise Unreadable
    if not asked.get("key") and (asked.get("image") is None or asked.get("mask") is None):
        raise Unreadable
    if not isinstance(asked.get("grow"), dict | None):
        raise Unreadable
    if (asked.get("channel") or "alpha") not in CHANNELS:
        raise Unreadable
    return asked


def preview(asked: dict[str, Any], schemas: Schemas) -> dict[str, Any]:
    """The map of a request.

    asked: `values`, the node's widgets by name; `key` of an executed picture, or `image`, `mask` (annotated names in
    the host's folders) and `channel`, with the key of a `run` whose model the speed-up is predicted for; `photo`,
    whether the picture itself is wanted too. `grow`, the widgets of a HiLo Mask Dilate between, and `grown`, whether its second output
    is taken. schemas: by node id, of the nodes whose widgets are sent.
    """
    values = check_widgets(schemas["HiLoTokenSelect"], asked["values"], complete=True)
    source = _source(asked, schemas)
    speedup, choice = values.pop("speedup"), None
    if values["preset"] == AUTO:
        choice = comparisons.decide(source.model, setting_of(source.edit))
        if choice.preset is None:
            raise Hint("dense", reason=choice.reason)
        values["preset"] = choice.preset
    settings = token_settings(**values, pixels=source.tokens.pixels)
    settings = with_speedup(settings, speedup, source.shape, source.edit.numel())
    plan = said(make_plan(source.edit, source.light, settings), speedup, source.shape)
    kinds, names = kind_map(plan)
    return {
        "rows": plan.rows,
        "columns": plan.columns,
        "size": source.size,
        "token": source.tokens.pixels,
        "kinds": base64.b64encode(kinds.byte().numpy().tobytes()).decode(),
        "names": names,
        "colours": [COLOURS[name] for name in names],
        "counts": plan.counts(),
        "kept": plan.count,
        "total": plan.total,
        "speedup": source.shape.speedup(plan.count, plan.total),
        "family": source.family,
        "note": "\n".join(text for text in (choice.reason if choice else "", plan.note) if text),
        **({"photo": source.thumbnail} if asked.get("photo") else {}),
    }


def _source(asked: dict[str, Any], schemas: Schemas) -> Source:
    if key := asked.get("key"):
        return remembered(key)
    try:
        ran = remembered(asked["run"]) if asked.get("run") else None
    except Hint:  # after a restart; the family then shown is the assumed one
        ran = None
    change = None
    if asked.get("grow") is not None:
        widgets = check_widgets(schemas["HiLoMaskDilate"], asked["grow"], complete=True)
        change = Change(Growth(**widgets), bool(asked.get("grown")))
    channel, tokens = asked.get("channel") or "alpha", ran.tokens if ran else None
    source = from_files(asked["image"], asked["mask"], channel, tokens, change)
    return replace(source, shape=ran.shape, family=ran.family, model=ran.model) if ran else source
