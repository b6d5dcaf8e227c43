"""The one error that this package raises on bad input, and the check for values that are not finite.

Its text is one sentence or two: what is wrong, and what to do. It is shown to the user as it is.
"""

import torch
from torch import Tensor


class HiLoError(ValueError):
    """Bad input that a user can mend; its text is shown on the node."""

    __module__ = "hilo_token"  # the host shows an error's full type, which would hold the folder of the installation


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite. A sum tells that of a large picture twenty times faster than each value."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
