"""Why a run is dense: the one way in which any part of the bridge says so."""

from __future__ import annotations

import torch


class DenseRun(BaseException):
    """This run, or this call, has to be dense; the text is the reason that the user sees.

    Not an Exception, since it may be raised within a model call, where other nodes' code must not swallow it.
    """

    @property
    def reason(self) -> str:
        """The text as it was given, with its values apart if it is a `Said`."""
        reason: str = self.args[0]
        return reason


# what another node's code raises where it meets a part of the tokens; out of memory is never an answer: `out_of_memory`
FOREIGN_FAILURES = (RuntimeError, TypeError, ValueError, AssertionError, AttributeError, LookupError)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is about memory: never an answer of foreign code."""
    kinds = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
    return isinstance(error, (MemoryError, kinds)) or "out of memory" in str(error).lower()
