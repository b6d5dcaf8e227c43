"""The one error this package raises on bad input: short, says what is wrong and what to do."""


class HiLoError(ValueError):
    """Bad input that a user can mend; its text is shown on the node."""
