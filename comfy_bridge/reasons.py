"""Why a run is dense: the one way in which any part of the bridge says so."""

from __future__ import annotations


class DenseRun(BaseException):
    """This run, or this call, has to be dense; the text is the reason that the user sees.

    Not an Exception, since it may be raised within a model call, where other nodes' code must not swallow it.
    """


# what another node's code raises where it meets a part of the tokens; out of memory is told apart by `neighbours`
FOREIGN_FAILURES = (RuntimeError, TypeError, ValueError, AssertionError, AttributeError, LookupError)
