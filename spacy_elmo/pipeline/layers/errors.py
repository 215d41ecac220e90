"""A model folder that a config names and that cannot be read, as an error of the config."""

from collections.abc import Iterator
from contextlib import contextmanager

from thinc.api import ConfigValidationError

from ...inference.loading import ModelFolderError


class ModelConfigError(ModelFolderError, ConfigValidationError):
    """A ModelFolderError that spaCy's commands show as the one sentence that it is, without a traceback.

    They do so with errors of the config, and that is where the folder is named.
    """

    def __str__(self) -> str:
        return str(self.title)


@contextmanager
def as_config_error() -> Iterator[None]:
    """For reading what a config names: a ModelFolderError becomes a ModelConfigError."""
    try:
        yield
    except ModelFolderError as error:
        raise ModelConfigError(title=str(error)) from None
