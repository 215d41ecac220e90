"""Run a layer on a few docs at a time in prediction, so that its results stay in the cache."""

from collections.abc import Callable, Sequence
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...batching import minibatch_by_size

NAME = "elmo-with-minibatches"


MAX_TOKENS = 1024  # tokens of a batch: about 5 MB of layers, mix and input


def with_minibatches(layer: Model[list[Doc], list[Floats2d]], width: int) -> Model[list[Doc], list[Floats2d]]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, width)] that applies `layer` to small batches.

    `layer` must treat each Doc independently. A pipeline passes hundreds of docs at once; writing and reading
    the layers of all their tokens takes longer than computing with them. In training, batches are small and
    are not split.
    """
    return Model(NAME, forward, init=init, layers=[layer], dims={"nO": width})


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Apply the layer batch by batch; in training, to all docs."""
    (layer,) = model.layers
    if is_train:
        return layer(docs, is_train)
    return [
        y for batch in minibatch_by_size(docs, MAX_TOKENS, len) for y in layer.predict(batch)
    ], _no_gradient


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Initialize the layer."""
    model.layers[0].initialize(X, Y)


def _no_gradient(dY: Any) -> list[Doc]:
    raise ValueError("A prediction has no gradient: call begin_update instead.")
