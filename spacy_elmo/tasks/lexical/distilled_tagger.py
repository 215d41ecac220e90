"""A distilled tagger: states of a small frozen BiLSTM for words, tags and names, as vectors of tokens.

It was trained to predict the words, tags and entities that another analyzer finds in raw text, from the
layers of one biLM (knowledge distillation, Hinton et al. 2015, with hard labels). A task reads the states of
its BiLSTM, as the supervised models on top of TagLM do (Peters et al. 2017), and learns its own labels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import safetensors
import safetensors.numpy
from thinc.api import Model, Relu, chain, with_array
from thinc.types import Floats2d

from ... import models
from ...atomic_io import PathLike, write_atomic
from ...errors import ElmoError
from ...pipeline.layers.scalar_mix import ScalarMix
from .bilstm import BiLSTM

NAME = "elmo-distilled-tagger"
FROZEN_MIX = "elmo-frozen-mix"  # not the name of a mix that a task learns
BUNDLED = Path(models.__file__).parent / "zh_distilled_tagger" / "weights.safetensors"
FORMAT = "spacy-elmo-distilled-tagger"


class TaggerWeights(NamedTuple):
    """The weights of a distilled tagger, float32."""

    w: np.ndarray
    """(L,) of the scalar mix, before the softmax"""
    gamma: np.ndarray
    """(1,)"""
    projection_W: np.ndarray
    """(P, D)"""
    projection_b: np.ndarray
    """(P,)"""
    forward_W_ih: np.ndarray
    """(4H, P), the gates in the order i, f, g, o; the following as in BiLSTM"""
    forward_W_hh: np.ndarray
    forward_b: np.ndarray
    backward_W_ih: np.ndarray
    backward_W_hh: np.ndarray
    backward_b: np.ndarray


def DistilledTagger(path: PathLike | None = None) -> Model[Any, Any]:
    """List[Floats3d (L, n, D)] -> List[Floats2d (n, 2H)], the states of the BiLSTM; without gradient.

    The layers are normalised and mixed, projected (P columns, ReLU), and read by the BiLSTM.
    path: a file of `save_tagger`; None: the tagger inside the package, for the model inside the package. It
    is read at initialization; a saved pipeline contains the weights.
    Raises an ElmoError where the biLM has another number or width of layers.
    """
    mix = ScalarMix(mix_dropout=0.0, layer_norm=True)
    mix.name = FROZEN_MIX
    layers: Model[Any, Any] = chain(mix, with_array(Relu()), BiLSTM(None))
    return Model(
        NAME,
        forward,
        init=init,
        layers=[layers],
        dims={"nL": None, "nI": None, "nO": None},
        attrs={"path": None if path is None else str(path)},
    )


def forward(
    model: Model[Any, Any], X: Sequence[Any], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Predict in training, too: the weights are frozen."""
    return model.layers[0].predict(X), lambda dY: []


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Read the weights, unless a saved pipeline has brought them."""
    if model.has_dim("nO"):
        return
    path = model.attrs["path"]
    weights = load_tagger(BUNDLED if path is None else Path(path))
    _check_layers(model, weights, path)
    mix, relu, bilstm = model.layers[0].layers
    mix.set_dim("nL", len(weights.w))
    relu = relu.layers[0]
    relu.set_dim("nO", len(weights.projection_b))
    relu.set_dim("nI", weights.projection_W.shape[1])
    bilstm.set_dim("nO", 2 * weights.forward_W_hh.shape[1])
    bilstm.set_dim("nI", len(weights.projection_b))
    names = {mix: ("w", "gamma"), relu: ("projection_W", "projection_b"), bilstm: weights._fields[4:]}
    for layer, fields in names.items():
        for field in fields:
            value = cast(Any, model.ops.asarray(getattr(weights, field)))
            layer.set_param(field.removeprefix("projection_"), value)
    model.set_dim("nO", bilstm.get_dim("nO"))


def _check_layers(model: Model[Any, Any], weights: TaggerWeights, path: str | None) -> None:
    made_for = len(weights.w), weights.projection_W.shape[1]
    found = tuple(model.get_dim(name) if model.has_dim(name) else None for name in ("nL", "nI"))
    if found != made_for:
        name = "of the package" if path is None else path
        raise ElmoError(
            f"The distilled tagger {name} reads {made_for[0]} layers of width {made_for[1]}, and this biLM "
            f"has {found[0]} of width {found[1]}: remove spacy-elmo.DistilledTagger.v1 from the config, or "
            "set its path to a tagger that was trained on this biLM."
        )
    for name, size in zip(("nL", "nI"), made_for, strict=True):
        model.set_dim(name, size, force=True)


def save_tagger(path: PathLike, weights: TaggerWeights, labels: Sequence[str], source: str) -> None:
    """Write a tagger as safetensors, float16. source: whose labels it has learned, and their licence."""
    tensors = {
        name: np.ascontiguousarray(value, dtype=np.float16) for name, value in weights._asdict().items()
    }
    metadata = {"format": FORMAT, "labels": " ".join(labels), "source": source}
    write_atomic(path, safetensors.numpy.save(tensors, metadata))


def load_tagger(path: PathLike) -> TaggerWeights:
    """Read a file of save_tagger. Raises an ElmoError where it is missing, another file, or damaged."""
    path = Path(path)
    if not path.is_file():
        raise ElmoError(f"There is no distilled tagger at {path}: correct its path.")
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a type that NumPy lacks
        raise ElmoError(f"{path} is not a distilled tagger ({error}): correct its path.") from None
    missing = [name for name in TaggerWeights._fields if name not in tensors]
    if missing:
        raise ElmoError(f"{path} is not a distilled tagger: it lacks {missing[0]}; correct its path.")
    weights = TaggerWeights(*(tensors[name].astype(np.float32) for name in TaggerWeights._fields))
    _check_shapes(path, weights)
    return weights


def _check_shapes(path: Path, weights: TaggerWeights) -> None:
    n_layers = weights.w.size
    projection, width = (*weights.projection_W.shape, 0, 0)[:2]
    hidden = weights.forward_b.size // 4
    lstm = ((4 * hidden, projection), (4 * hidden, hidden), (4 * hidden,))
    expected = ((n_layers,), (1,), (projection, width), (projection,), *lstm, *lstm)
    for name, value, shape in zip(weights._fields, weights, expected, strict=True):
        if value.shape != shape or not value.size or not np.isfinite(value).all():
            raise ElmoError(
                f"The distilled tagger {path} is damaged ({name}): train it again, or reinstall spacy-elmo."
            )
