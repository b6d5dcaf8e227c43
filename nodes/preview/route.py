"""POST /hilo_token/plan: the token map of a picture for the front end's live preview. Nothing is queued."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from aiohttp import web
from comfy_api.latest import io

from ...comfy_bridge.auto import setting_of
from ...comfy_bridge.known import comparisons
from ...comfy_bridge.planning import said, with_speedup
from ...hilo_core import HiLoError
from ...hilo_core.auto import AUTO
from ...hilo_core.mask import NOTHING_PAINTED
from ...hilo_core.plan import make_plan
from ...hilo_core.render import COLOURS, kind_map
from ...hilo_core.words import in_parts
from ..inputs import check_widgets
from ..settings import token_settings
from .sources import Hint, Source, followed, remembered
from .steps import NotFollowed, is_step

MOST_REQUEST = 16_384  # bytes, unpacked
_few_at_a_time = asyncio.Semaphore(2)


class Unreadable(ValueError):
    """A request that is none of this route's."""


def add_route(routes: web.RouteTableDef, schema: io.Schema) -> None:
    """Put the route beside the host's own. schema: of HiLo Token Select, whose widgets are sent."""

    @routes.post("/hilo_token/plan")
    async def answer(request: web.Request) -> web.Response:
        try:
            asked = await read(request)
            async with _few_at_a_time:
                return web.json_response(await asyncio.to_thread(preview, asked, schema))
        except Unreadable:
            return web.json_response({"error": "The request cannot be read."}, status=400)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": "The request is too large."}, status=413)
        except Hint as hint:
            return web.json_response({"hint": hint.code, **hint.facts})
        except HiLoError as error:
            hint = "no_mask" if str(error) == NOTHING_PAINTED else "bad_values"
            return web.json_response({"hint": hint, "message": str(error)})


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
    good = isinstance(asked, dict) and isinstance(asked.get("values"), dict)
    if not good or not all(isinstance(asked.get(name), str | None) for name in ("key", "run")):
        raise Unreadable
    if not asked.get("key") and not all(is_step(asked.get(name)) for name in ("image", "mask")):
        raise Unreadable
    return asked


def preview(asked: dict[str, Any], schema: io.Schema) -> dict[str, Any]:
    """The map of a request.

    asked: `values`, the node's widgets by name; `key` of an executed picture, or `image` and `mask`, the steps that
    make them (`steps.py`), with the key of a `run` whose model the speed-up is predicted for; `photo`, whether the
    picture itself is wanted too. schema: of HiLo Token Select.
    """
    values = check_widgets(schema, asked["values"], complete=True)
    source = _source(asked)
    speedup, choice = values.pop("speedup"), None
    if values["preset"] == AUTO:
        choice = comparisons.decide(source.model, setting_of(source.edit))
        if choice.preset is None:
            raise Hint("dense", reason=choice.reason)
        values["preset"] = choice.preset
    settings = token_settings(**values, pixels=source.tokens.pixels)
    settings = with_speedup(settings, speedup, source.shape, source.edit.numel())
    plan = said(make_plan(source.edit, source.light, settings), speedup, source.shape)
    found, names = kind_map(plan)
    kinds = found.reshape(-1, plan.rows, plan.columns)[source.frame]
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
        "notes": [in_parts(text) for text in (choice.reason if choice else "", plan.note) if text],
        **({"photo": source.thumbnail} if asked.get("photo") else {}),
    }


def _source(asked: dict[str, Any]) -> Source:
    if key := asked.get("key"):
        return remembered(key)
    try:
        ran = remembered(asked["run"]) if asked.get("run") else None
    except Hint:  # after a restart; the family then shown is the assumed one
        ran = None
    try:
        return followed(asked["image"], asked["mask"], ran)
    except NotFollowed as error:
        if asked.get("run"):
            return remembered(asked["run"])  # as the run left it
        raise Hint("not_executed") from error
