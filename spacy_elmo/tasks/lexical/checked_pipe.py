"""Shared base of the components: what is loaded is checked, so that labels and weights fit."""

from collections.abc import Iterable
from pathlib import Path

from spacy.pipeline import TrainablePipe


class CheckedPipe(TrainablePipe):
    """Trainable component whose subclass checks in `finish_loading` what was loaded."""

    def finish_loading(self, *, complete: bool) -> None:
        """Use what was loaded. complete: both labels and weights were, so they must fit.

        Raises an ElmoError for labels that are not names or do not fit the weights.
        """
        raise NotImplementedError

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "CheckedPipe":
        """Read the result of to_disk. Raises an ElmoError, see finish_loading."""
        super().from_disk(path, exclude=exclude)
        self.finish_loading(complete=not {"cfg", "model"} & set(exclude))
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "CheckedPipe":
        """Read the result of to_bytes. Raises an ElmoError, see finish_loading."""
        super().from_bytes(bytes_data, exclude=exclude)
        self.finish_loading(complete=not {"cfg", "model"} & set(exclude))
        return self
