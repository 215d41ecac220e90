"""Define the base class of this package's errors."""


class ElmoError(ValueError):
    """Invalid input. The message is one sentence that says what is wrong and what to do."""
