"""POST /hilo_token/plan: the token map of a picture for the front end's live preview. Nothing is queued."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from dataclasses import replace
from typing import Any

from aiohttp import web
from comfy_api.latest import io

from ..hilo_core import HiLoError
from ..hilo_core.plan import make_plan
from ..hilo_core.render import COLOURS, kind_map
from .sources import CHANNELS, Hint, Source, from_files, remembered
from .token_select import HiLoTokenSelect, token_settings, with_speedup

MOST_REQUEST = 16_384
_one_at_a_time = asyncio.Semaphore(2)


def add_route(routes: web.RouteTableDef) -> None:
    """Put the route beside the host's own."""

    @routes.post("/hilo_token/plan")
    async def answer(request: web.Request) -> web.Response:
        if (request.content_length or MOST_REQUEST + 1) > MOST_REQUEST:
            return web.json_response({"error": "The request is too large."}, status=413)
        try:
            asked = json.loads(await request.text())
            async with _one_at_a_time:
                return web.json_response(await asyncio.to_thread(preview, asked))
        except Hint as hint:
            return web.json_response({"hint": hint.code, **hint.facts})
        except HiLoError as error:
            return web.json_response({"hint": "bad_values", "message": str(error)})
        except (ValueError, TypeError, KeyError, AttributeError):
            return web.json_response({"error": "The request cannot be read."}, status=400)


def preview(asked: dict[str, Any]) -> dict[str, Any]:
    """The map of a request.

    asked: `values`, the node's widgets by name; `key` of an executed picture, or `image`, `mask` (annotated names in
    the host's folders) and `channel`, with the key of a `run` whose model the speed-up is predicted for; `photo`,
    whether the picture itself is wanted too.
    """
    values, source = checked(asked["values"]), _source(asked)
    if not bool(source.edit.any()):
        raise Hint("no_mask")
    speedup = values.pop("speedup")
    settings = with_speedup(token_settings(**values), speedup, source.shape, source.edit.numel())
    plan = make_plan(source.edit, source.detail(settings.score), settings)
    kinds, names = kind_map(plan)
    return {
        "rows": plan.rows,
        "columns": plan.columns,
        "size": list(source.light.shape[:1:-1]),
        "kinds": base64.b64encode(kinds.byte().numpy().tobytes()).decode(),
        "names": names,
        "colours": [COLOURS[name] for name in names],
        "counts": plan.counts(),
        "kept": plan.count,
        "total": plan.total,
        "speedup": source.shape.speedup(plan.count, plan.total),
        "family": source.family,
        "note": plan.note,
        **({"photo": source.thumbnail} if asked.get("photo") else {}),
    }


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """The node's widget values, each of its type and in its range; HiLoError otherwise. Missing ones by default."""
    found: dict[str, Any] = {}
    for spec in HiLoTokenSelect.define_schema().inputs:
        if not isinstance(spec, io.Combo.Input | io.Float.Input | io.Int.Input | io.Boolean.Input):
            continue
        value = values.get(spec.id, spec.default)
        if isinstance(spec, io.Combo.Input):
            good = value in spec.options
        elif isinstance(spec, io.Boolean.Input):
            good = isinstance(value, bool)
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            good = number and spec.min <= value <= spec.max
            value = int(value) if good and isinstance(spec, io.Int.Input) else value
        if not good:
            raise HiLoError(f"'{spec.id}' cannot be {str(value)[:40]!r}.")
        found[spec.id] = value
    return found


def _source(asked: dict[str, Any]) -> Source:
    if key := asked.get("key"):
        return remembered(str(key))
    image, mask, channel = asked["image"], asked["mask"], asked.get("channel", "alpha")
    if not isinstance(image, str) or not isinstance(mask, str) or channel not in CHANNELS:
        raise ValueError("image and mask are names, channel is one of " + ", ".join(CHANNELS))
    source = from_files(image, mask, channel)
    try:
        ran = remembered(str(asked["run"])) if asked.get("run") else source
    except Hint:  # after a restart; the family then shown is the assumed one
        ran = source
    return replace(source, shape=ran.shape, family=ran.family)
