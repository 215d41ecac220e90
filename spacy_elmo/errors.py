"""Define all errors that invalid input raises. Each message is one sentence: what is wrong and what to do.

A program that catches `ElmoError` catches them all, whichever part of the package they come from. A
`ModelFolderError` of a model that a spaCy config names is a thinc.api.ConfigValidationError, too.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CorpusError",
    "DistributedError",
    "ElmoError",
    "FormatError",
    "ModelFolderError",
    "OutputError",
    "WorkerError",
]


LONGEST = 1000  # characters of a message: what it quotes of a file may be any number of them


class ElmoError(ValueError):
    """Invalid input. The message is one sentence on one line that says what is wrong and what to do."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(_shorten(a) if isinstance(a, str) else a for a in arguments))


def _shorten(message: str) -> str:
    """Return a message on one line, without the middle of one that is too long."""
    line = " ".join(message.splitlines())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 4 :]}"


class ConfigError(ElmoError):
    """A configuration from which no model can be built."""


class ModelFolderError(ElmoError):
    """A model folder that cannot be read or written."""


class FormatError(ElmoError):
    """Foreign weights, options or words that cannot be read, or a model that a format cannot describe."""


class OutputError(ElmoError):
    """An output that cannot be written."""


class CorpusError(ElmoError):
    """Text from which no corpus can be built."""


class CheckpointError(ElmoError):
    """A checkpoint from which a run cannot continue."""


class WorkerError(ElmoError):
    """A backend that is not available, or that lost a worker."""


class DistributedError(ElmoError):
    """A process of the run is missing or was lost."""
