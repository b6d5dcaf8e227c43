"""What the attention overrides of other nodes do with a mask, tried once for each of them in a run.

Takes a call's options and the layout of its strip; says whether another node's override goes around the bias, and
raises DenseRun where the bias would get lost. It changes no override.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .attention import KEEPS, KERNEL, OTHER, host_takes_masks, mask_kept_by
from .call import OVERRIDE
from .features import FEATURES
from .layout import Layout
from .reasons import DenseRun


@dataclass
class Overrides:
    """Of one run."""

    through_masks: bool  # the model's attention takes its mask itself, so no override reaches it
    found: dict[Any, str] = field(default_factory=dict)  # by the code of an override

    def previous(self, options: dict[str, Any]) -> Any:
        """The attention override of another node, where the model uses one."""
        return None if self.through_masks else options.get(OVERRIDE)

    def around(self, previous: Any) -> bool:
        """Whether it has to be handed the biased attention, since it would drop the mask."""
        return previous is not None and self.found[_code(previous)] != KEEPS

    def check(self, layout: Layout, options: dict[str, Any]) -> str:
        """What the user should know of the attention that is used; or ''. DenseRun where the bias would get lost."""
        previous = self.previous(options)
        if layout.bias and self.through_masks and not host_takes_masks():
            raise DenseRun(FEATURES["foreign_attention"].text)
        if not layout.bias or previous is None:
            return ""
        code = _code(previous)
        if code not in self.found:
            self.found[code] = mask_kept_by(previous, layout.attention, max(layout.bias), options)
        if self.found[code] == OTHER:
            raise DenseRun(FEATURES["override_no_mask"].text)
        return FEATURES["override_kernel"].text if self.found[code] == KERNEL else ""


def _code(override: Any) -> Any:
    """Tells overrides apart; some nodes make a new function for each call."""
    return getattr(override, "__code__", type(override))
