"""The root of this package's errors."""


class ElmoError(ValueError):
    """Bad input. The message is one sentence: what is wrong, and what to do."""
