"""A layer that gets a few docs at a time in prediction, so that what it makes of them stays in the cache."""

from collections.abc import Callable, Sequence
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...batching import minibatch_by_size

NAME = "elmo-with-minibatches"


MAX_TOKENS = 1024  # of a batch: about 5 MB of layers, mix and input


def with_minibatches(layer: Model[list[Doc], list[Floats2d]], width: int) -> Model[list[Doc], list[Floats2d]]:
    """List[Doc] -> List[Floats2d (n_tokens, width)]: what `layer` gives, which must treat each Doc by itself.

    A pipeline hands over hundreds of docs at once; layers of all their tokens take longer to write to memory
    and read again than to compute with. In training, batches are small and go through in one.
    """
    return Model(NAME, forward, init=init, layers=[layer], dims={"nO": width})


def forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[list[Floats2d], Callable]:
    (layer,) = model.layers
    if is_train:
        return layer(docs, is_train)
    return [
        y for batch in minibatch_by_size(docs, MAX_TOKENS, len) for y in layer.predict(batch)
    ], _no_gradient


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    model.layers[0].initialize(X, Y)


def _no_gradient(dY: Any) -> list[Doc]:
    raise ValueError("A prediction has no gradient: call begin_update instead.")
