"""CUDA graphs on a GPU: every result equal, bit for bit, to the call without, and no memory kept.

`python -m lab.checks.graphs` tries each small model of the tests alone, with LoRA, ControlNet, references, CFG 3.5 and
a batch of 3, then what ends or moves graphs: an interrupt at each step, another model in between, an unloaded model,
too little memory, other weights; then `--runs` runs of random shapes. `--dynamic` does so under the host's dynamic
VRAM (comfy-aimdo). Stored as lab/results/graphs.json; ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import random
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lab.checks.added import lora, residuals
from lab.speed import dynamic_vram
from lab.speed.runs import without_graphs
from tools import host

STEPS = 5
_log = logging.getLogger("lab.graphs")
Rows = list[dict[str, Any]]


class Checks:
    """Runs with and without graphs, compared."""

    def __init__(self, dynamic: bool) -> None:
        from tests.host.models import SMALL

        self.small, self.dynamic, self.rows = {s.build.__name__: s for s in SMALL}, dynamic, Rows()
        self.patched, self.reports = dict[int, Any](), list[Any]()

    def patcher(self, model: Any) -> Any:
        """The host's ModelPatcher around a small model, its weights in the CPU's memory where they are paged."""
        import comfy.model_management
        import comfy.model_patcher

        device, cpu = comfy.model_management.get_torch_device(), torch.device("cpu")
        if self.dynamic:
            return dynamic_vram.paged(model)
        return comfy.model_patcher.ModelPatcher(model.to(device), load_device=device, offload_device=cpu)

    def model(self, name: str) -> Any:
        """A small model by the name of what builds it."""
        with dynamic_vram.building() if self.dynamic else torch.no_grad():
            model = self.small[name].build()
        return self.patcher(model)

    def run(self, model: Any, edit: Any, **sampling: Any) -> tuple[Tensor, str]:
        """(result, the report's line) of a compressed run."""
        from hilo_token.comfy_bridge.patch import Patch, patch_model
        from hilo_token.hilo_core.presets import preset

        if id(model) not in self.patched:  # an artist's workflow keeps its patched model, and so does this
            patch = Patch(preset("balanced"), on_report=self.reports.append)
            self.patched[id(model)] = model, patch_model(model, patch)
        out = edit.sample(self.patched[id(model)][1], **sampling)
        return out, self.reports[-1].line()

    def same(
        self, what: str, model: Any, edit: Any, runs: int = 2, want: Tensor | None = None, **sampling: Any
    ) -> bool:
        """Whether runs with graphs equal one without; noted, with what the report says of graphs."""
        sampling = {"steps": STEPS, **sampling}
        if want is None:
            with without_graphs():
                want, _ = self.run(model, edit, **sampling)
        lines, equal = [], True
        for _ in range(runs):
            out, line = self.run(model, edit, **sampling)
            equal &= torch.equal(out, want) and bool(torch.isfinite(out).all())
            lines.append(of_graphs(line))
        self.note(what, equal, lines[-1])
        return equal

    def note(self, what: str, equal: bool, graphs: str = "", **more: int) -> None:
        """One check's row."""
        self.rows.append({"check": what, "equal": equal, "graphs": graphs, **more})
        _log.info("%s %-46s %s %s", "same  " if equal else "DIFFER", what, graphs, more or "")


Part = Callable[[Checks], None]


def of_graphs(line: str) -> str:
    """What a report says of graphs, or all where it says nothing."""
    return "; ".join(part for part in line.split("; ") if "CUDA graphs" in part) or line


def families(checks: Checks) -> None:
    """Each small model, plain and with what artists add."""
    from tests.host.cases import case

    for name, small in checks.small.items():
        model, size = checks.model(name), small.allowed(32, 40)
        checks.same(name, model, case(small, *size))
        another = case(small, *size)
        for cond in (another.positive, another.negative):
            cond[0][0] = 0.5 * cond[0][0]
        checks.same(f"{name}, another prompt", model, another)
        checks.same(f"{name}, CFG 3.5", model, case(small, *size), cfg=3.5)
        checks.same(f"{name}, batch 3", model, case(small, *size, batch=3), cfg=3.5, steps=3)
        checks.same(f"{name}, LoRA", lora(model, 0.7), case(small, *size))
        checks.same(f"{name}, another LoRA", lora(model, -0.4), case(small, *size))
        if small.control:
            edit = case(small, *size)
            tokens = (size[0] // small.patch) * (size[1] // small.patch)
            control = residuals(2, tokens, small.width)
            for cond in (edit.positive, edit.negative):
                cond[0][1] |= {"control": control, "control_apply_to_uncond": True}
            checks.same(f"{name}, ControlNet", model, edit)
        if small.references:
            edit = case(small, *size)
            for cond in (edit.positive, edit.negative):
                cond[0][1] |= {"reference_latents": [edit.latent, edit.latent[..., :20, :20]]}
            checks.same(f"{name}, two references", model, edit)


def interrupts(checks: Checks) -> None:
    """Left at each step, the next run is as ever."""
    import comfy.model_management as management
    from comfy.patcher_extension import WrappersMP

    from tests.host.cases import case

    small = checks.small["flux"]
    for at in range(STEPS):
        model, edit, calls = checks.model("flux"), case(small, 32, 40), []

        def leave(executor: Any, *args: Any, at: int = at, calls: list[int] = calls, **kwargs: Any) -> Any:
            if len(calls) == at:
                management.interrupt_current_processing()
            calls.append(1)
            return executor(*args, **kwargs)

        with without_graphs():
            want, _ = checks.run(model, edit, steps=STEPS)
        leaving = model.clone()
        leaving.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "leave", leave)
        with contextlib.suppress(management.InterruptProcessingException):
            checks.run(leaving, edit, steps=STEPS)
        checks.same(f"after an interrupt at step {at + 1}", model, edit, want=want)


def changes(checks: Checks) -> None:
    """Other models and weights in between, an unloaded model, a full card."""
    import comfy.model_management as management
    from hilo_token.comfy_bridge.patch import Patch, patch_model
    from hilo_token.hilo_core.presets import preset

    from tests.host.cases import case

    small, edit = checks.small["flux"], case(checks.small["flux"], 32, 40)
    first, second = checks.model("flux"), checks.model("flux2")
    for _ in range(3):
        checks.same("two models in turn, FLUX.1", first, edit, runs=1)
        checks.same("two models in turn, FLUX.2", second, case(checks.small["flux2"], 32, 40), runs=1)
    for strength in (0.5, 0.0, 1.0, 0.5):
        checks.same(f"LoRA of strength {strength}", lora(first, strength) if strength else first, edit)
    patched = patch_model(first, Patch(preset("balanced")))
    with without_graphs():
        want = edit.sample(patched, steps=STEPS)
    equal = all(torch.equal(edit.sample(m, steps=STEPS), want) for m in (patched, patched.clone(), patched))
    checks.note("clones in turn", equal)
    for _ in range(2):
        management.unload_all_models()
        checks.same("after the model was unloaded", first, edit)
    for left in (2, 8, 24, 64):
        filled, short = fill_memory(left << 20), "enough"
        try:
            checks.run(first, case(small, 64, 80), steps=STEPS)
        except RuntimeError as error:  # cuBLAS has one of its own for a full card
            short = type(error).__name__
        del filled
        torch.cuda.empty_cache()
        checks.same(f"after a run with {left} MiB left ({short})", first, case(small, 64, 80))


def given_back(checks: Checks) -> None:
    """Graphs of a model that is unloaded after the clone that ran is gone."""
    import comfy.model_management as management
    from hilo_token.comfy_bridge.graph_store import graphs_of

    from tests.host.cases import case

    model = checks.model("flux")
    _, line = checks.run(model, case(checks.small["flux"], 32, 40), steps=STEPS)
    graphs = graphs_of(model.model, model.load_device)
    made = graphs.count
    checks.patched.clear()
    gc.collect()
    management.unload_all_models()
    checks.note("given back after the clone that ran is gone", made > 0 and not graphs.count, of_graphs(line))


def fill_memory(left: int) -> list[Tensor]:
    """Take all memory of the device but so many bytes."""
    from hilo_token.comfy_bridge.graph_store import release_all

    release_all()
    torch.cuda.empty_cache()
    size = torch.cuda.mem_get_info()[0] - left
    return [torch.empty(size, dtype=torch.uint8, device="cuda")] if size > 0 else []


def random_shapes(checks: Checks, runs: int) -> None:
    """Memory before and after so many runs of random shapes, models and batches."""
    import comfy.model_management as management

    from tests.host.cases import case

    dice, names = random.Random(1), ["flux", "qwen", "chroma", "sd3"]
    models = {name: checks.model(name) for name in names}

    def one() -> None:
        name, size = dice.choice(names), (2 * dice.randint(10, 40), 2 * dice.randint(10, 40))
        edit = case(checks.small[name], *size, batch=dice.choice((1, 1, 2)), edit=(2, dice.randint(6, 18), 2, 16))
        checks.run(models[name], edit, steps=3, cfg=dice.choice((1.0, 3.5)))

    def left() -> tuple[int, int]:
        management.unload_all_models()
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()

    for _ in range(16):
        one()
    before, most = left(), 0
    for _ in range(runs):
        one()
        most = max(most, torch.cuda.memory_reserved())
    after = left()
    kept = [b - a for a, b in zip(before, after, strict=True)]
    checks.note(f"{runs} runs of random shapes", kept[0] <= 1 << 20 and kept[1] <= 32 << 20,
                allocated_before=before[0], allocated_after=after[0], reserved_before=before[1],
                reserved_after=after[1], reserved_most=most)  # fmt: skip


def main() -> int:
    """Check, print, store; 0 where everything is the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--dynamic", action="store_true", help="under dynamic VRAM")
    parser.add_argument("--name", default="graphs", help="of the result file")
    options = parser.parse_args()
    if options.dynamic:
        dynamic_vram.start()
    host.prepare()
    sys.path.insert(0, str(host.ROOT))
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger().setLevel(logging.ERROR)
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    checks = Checks(options.dynamic)
    parts: list[Part] = [families, interrupts, given_back, lambda c: random_shapes(c, options.runs), changes]
    command = " ".join(["python -m lab.checks.graphs", *sys.argv[1:]])
    facts = {"command": command, "device": host.describe(), "commit": host.commit(), "host": host.version()}
    for part in parts:
        part(checks)
        checks.patched.clear()
        host.store(options.name, {**facts, "rows": checks.rows})
    failed = [row for row in checks.rows if not row["equal"]]
    _log.info("%d checks, %d differ: %s", len(checks.rows), len(failed), json.dumps([row["check"] for row in failed]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
