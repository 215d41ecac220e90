"""Raise errors of model folders as errors of the config that names them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thinc.api import ConfigValidationError

from ...inference.loading import ModelFolderError


class ModelConfigError(ModelFolderError, ConfigValidationError):
    """ModelFolderError that spaCy's commands print as one sentence, without a traceback.

    They do so for errors of the config, where the folder is named.
    """

    def __init__(self, **details: Any):
        """Take what ConfigValidationError takes: spaCy makes such an error again from its parts."""
        ConfigValidationError.__init__(self, **details)

    def __str__(self) -> str:
        return str(self.title)


@contextmanager
def as_config_error() -> Iterator[None]:
    """Turn a ModelFolderError inside a `with` block into a ModelConfigError."""
    try:
        yield
    except ModelFolderError as error:
        raise ModelConfigError(title=str(error)) from None
