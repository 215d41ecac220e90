"""Lexicon features as a thinc layer that holds its table, so that a saved pipeline contains it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
import safetensors.numpy
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from thinc.api import Model, Shim
from thinc.types import Floats2d

from ...atomic_io import OutputError, PathLike
from ...errors import ElmoError
from ...inference import loading
from ...inference.installed_models import installed_models
from ...modeling.static_vectors import normalize_rms
from .lexicon import Lexicon, join_texts, rank_weights

NAME = "elmo-lexicon"


class LexiconShim(Shim):
    """Shim that holds the lexicon. path: see load_lexicon; read at first use."""

    _model: Lexicon | None

    def __init__(self, path: PathLike | None = None, lexicon: Lexicon | None = None):
        super().__init__(lexicon)
        self.path = path

    @property
    def lexicon(self) -> Lexicon:
        """Lexicon, loaded at first access. Raises an ElmoError."""
        if self._model is None:
            self._model = load_lexicon(self.path)
        return self._model

    def finish_update(self, optimizer: Any) -> None:
        """Do nothing, because the table is fixed."""

    def to_device(self, device_type: str, device_id: int) -> None:
        """Do nothing, because the features are computed on the CPU."""

    def to_bytes(self) -> bytes:
        """Return the lexicon as safetensors."""
        return lexicon_bytes(self.lexicon)

    def from_bytes(self, data: bytes) -> "LexiconShim":
        """Load the lexicon from the result of to_bytes."""
        self._model = lexicon_from_bytes(data)
        return self

    def copy(self) -> "LexiconShim":
        """Return a new shim with the same table, which never changes."""
        return LexiconShim(self.path, self._model)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LexiconShim":
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        data = None if self._model is None else self.to_bytes()
        return {**self.__dict__, "_model": data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state.pop("_model")
        self.__dict__.update(state, _model=None)
        if data is not None:
            self.from_bytes(data)


def LexiconLayer(path: PathLike | None = None) -> Model[Any, Any]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, 4 S)], see Lexicon.features.

    It has no gradient.
    """
    return Model(NAME, forward, init=init, dims={"nO": None}, shims=[LexiconShim(path)])


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Return the features of the docs, and a backprop function without gradient."""
    lexicon, ops = lexicon_of(model), cast(Any, model.ops)
    if not docs:
        return [], lambda dY: []
    features = ops.asarray2f(_features(lexicon, docs))
    lengths = ops.asarray1i([len(doc) for doc in docs])
    return ops.unflatten(features, lengths), lambda dY: []


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Set the width of the output."""
    model.set_dim("nO", lexicon_of(model).width, force=True)


def lexicon_of(model: Model[Any, Any]) -> Lexicon:
    """Return the table of a LexiconLayer."""
    return cast(LexiconShim, model.shims[0]).lexicon


def _features(lexicon: Lexicon, docs: Sequence[Doc]) -> np.ndarray:
    """Return the features of the tokens of all docs, concatenated."""
    places = [doc.to_array([IDX, LENGTH]).view(np.int64).reshape(-1, 2) for doc in docs]
    starts, ends = [each[:, 0] for each in places], [each.sum(1) for each in places]
    return lexicon.features(*join_texts([doc.text for doc in docs], starts, ends))


def load_lexicon(path: PathLike | None = None) -> Lexicon:
    """Read a lexicon: a file of `spacy elmo lexicon`, or the static vectors of a model folder.

    None: the bundled model. Static vectors are sorted by frequency, so their weights are those of their
    ranks. Raises an ElmoError.
    """
    if path is not None and Path(path).is_file():
        return lexicon_from_bytes(Path(path).read_bytes(), str(path))
    known = path is None or Path(path).exists() or str(path) in (loading.BUNDLED_MODEL, *installed_models())
    if not known:
        raise ElmoError(
            f"The lexicon {path} does not exist: check the path, or make a lexicon with `spacy elmo lexicon`."
        )
    bilm = loading.load(path)
    if bilm.static_vectors is None:
        raise ElmoError(
            f"The model {path} has no static vectors: use a model with static vectors, or a lexicon file."
        )
    strings = bilm.vocab.static
    return rounded_lexicon(strings, bilm.static_vectors.numpy(), rank_weights(strings))


def rounded_lexicon(strings: Sequence[str], vectors: np.ndarray, weights: np.ndarray) -> Lexicon:
    """Scale the vectors of a lexicon to root mean square 1, and round them as they are saved."""
    return Lexicon(strings, normalize_rms(vectors.astype(np.float32)).astype(np.float16), weights)


def check_lexicon_output(path: Path) -> None:
    """Raise an OutputError if the output exists and is not a lexicon."""
    if path.is_dir():
        raise OutputError(f"Cannot write a lexicon to {path}: it is a folder; name a file.")
    if path.exists():
        try:
            lexicon_from_bytes(path.read_bytes(), str(path))
        except ElmoError as error:
            raise OutputError(
                f"Cannot write a lexicon to {path}: it is another file; name a new one."
            ) from error


def lexicon_bytes(lexicon: Lexicon) -> bytes:
    """Return a lexicon as safetensors: `vectors` (n, S) float16, `weights` (n,), `strings` as UTF-8 lines."""
    strings = np.frombuffer("\n".join(lexicon.strings).encode("utf8"), dtype=np.uint8)
    tensors: dict[str, np.ndarray] = {
        "vectors": lexicon.vectors.numpy().astype(np.float16),
        "weights": lexicon.weights,
        "strings": strings,
    }
    return safetensors.numpy.save(tensors)


def lexicon_from_bytes(data: bytes, source: str = "the bytes") -> Lexicon:
    """Read the result of lexicon_bytes. source: names the origin in an ElmoError for damaged data."""
    try:
        tensors = safetensors.numpy.load(data)
        strings = tensors["strings"].tobytes().decode("utf8").split("\n")
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            vectors, weights = (tensors[name].astype(np.float32) for name in ("vectors", "weights"))
    except (safetensors.SafetensorError, KeyError, UnicodeDecodeError) as error:
        raise ElmoError(f"{source} is not a lexicon ({error}): make one with `spacy elmo lexicon`.") from None
    shapes_fit = vectors.ndim == 2 and vectors.size and weights.shape == vectors.shape[:1] == (len(strings),)
    numbers = np.isfinite(vectors).all() and np.isfinite(weights).all() and (weights >= 0).all()
    if not (shapes_fit and numbers) or len(set(strings)) != len(strings):
        raise ElmoError(f"The lexicon of {source} is damaged: make it again with `spacy elmo lexicon`.")
    return Lexicon(strings, vectors, weights)
