"""The host's own guidance nodes, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_extras import nodes_apg, nodes_cfg, nodes_lumina2, nodes_mahiro, nodes_model_advanced

GUIDANCE: dict[str, Callable[[Any], Any]] = {
    "CFGZeroStar": lambda m: nodes_cfg.CFGZeroStar.execute(m).args[0],
    "RenormCFG": lambda m: nodes_lumina2.RenormCFG.execute(m, 100.0, 1.0).args[0],
    "RescaleCFG": lambda m: nodes_model_advanced.RescaleCFG().patch(m, 0.7)[0],
    "CFGNorm": lambda m: nodes_cfg.CFGNorm.execute(m, 1.0).args[0],
    "APG": lambda m: nodes_apg.APG.execute(m, 1.0, 5.0, 0.0).args[0],
    "Mahiro": lambda m: nodes_mahiro.Mahiro.execute(m).args[0],
}
