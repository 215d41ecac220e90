"""A thinc layer that reads multilingual-e5-small as the listener reads ELMo: by the package's own mix.

Frozen, its layers of a sentence are computed once and kept on disk; otherwise, it is fine-tuned by thinc's
optimizer, with a factor of the learning rate that rises from zero in the first updates.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e5_encoder import E5Encoder, Span
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, Shim

from spacy_elmo.pipeline.layers.disk_store import DiskStore
from spacy_elmo.pipeline.layers.fine_tuning import averaged_weights, update_weights
from spacy_elmo.pipeline.layers.scalar_mix import ScalarMix

NAME = "e5-tok2vec"
ARCHITECTURE = "zh_elmo.E5Tok2Vec.v1"


class E5Shim(Shim):
    """Holds the encoder.

    Args:
        cache: Folder for the layers of docs, of an encoder that is frozen; None: they are not kept.
        learn_rate_factor: Factor of the optimizer's learning rate; 0: the encoder is frozen.
        warmup: Updates in which the factor rises from 0 to that value.
        bfloat16: Compute products in bfloat16. Sums, normalisations and weights stay in float32.
    """

    def __init__(self, cache: str | None, learn_rate_factor: float, warmup: int, bfloat16: bool):
        super().__init__(None)
        self.encoder = frozen_encoder() if not learn_rate_factor else E5Encoder()
        self.frozen = not learn_rate_factor
        self.learn_rate_factor, self.warmup, self.updates = learn_rate_factor, warmup, 0
        self.bfloat16 = bfloat16
        shape = self.encoder.n_layers, self.encoder.width
        self.store = DiskStore(Path(cache) / "e5", shape, half=True) if cache and self.frozen else None

    def layers(self, docs: Sequence[Doc]) -> list[np.ndarray]:
        """Return the layers of each Doc's tokens, (13, n_tokens, 384) float32, cached ones if possible."""
        if self.store is None:
            return self._compute(docs)
        keys = [_key(doc) for doc in docs]
        known = [self.store.get(key) for key in keys]
        missing = [i for i, layers in enumerate(known) if layers is None]
        for i, layers in zip(missing, self._compute([docs[i] for i in missing]), strict=True):
            known[i] = layers.astype("<f2")
            self.store.put(keys[i], known[i])
        return [np.asarray(layers, dtype=np.float32) for layers in known]

    def _compute(self, docs: Sequence[Doc]) -> list[np.ndarray]:
        with self._precision():
            return self.encoder.layers_of_tokens(*_inputs(docs))

    def layers_with_gradient(
        self, docs: Sequence[Doc]
    ) -> tuple[list[np.ndarray], Callable[[Sequence[np.ndarray]], None]]:
        """Return the layers of each Doc's tokens, with dropout, and their backprop function."""
        self.encoder.train()
        with self._precision():
            layers = self.encoder(*_inputs(docs))
        self.encoder.eval()

        def backprop(gradients: Sequence[np.ndarray]) -> None:
            torch.autograd.backward(layers, [torch.from_numpy(each) for each in gradients])

        return [each.detach().numpy() for each in layers], backprop

    def finish_update(self, optimizer: Any) -> None:
        """Update the weights, unless they are frozen."""
        if not self.frozen:
            self.updates += 1
            factor = self.learn_rate_factor * min(1.0, self.updates / max(1, self.warmup))
            update_weights(self.encoder, self.id, optimizer, factor)  # type: ignore[arg-type]

    @contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Use the averaged weights of an optimizer inside of the block, unless the encoder is frozen."""
        if self.frozen:
            yield
        else:
            with averaged_weights(self.encoder, self.id, params):  # type: ignore[arg-type]
                yield

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)


@registry.architectures(ARCHITECTURE)
def E5Tok2Vec(
    mix_dropout: float,
    weight_penalty: float,
    layer_norm: bool,
    cache: str | None = None,
    learn_rate_factor: float = 0.0,
    warmup: int = 0,
    bfloat16: bool = False,
) -> Model[Any, Any]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, 384)]: the encoder and a trained scalar mix.

    mix_dropout, weight_penalty, layer_norm: settings of the mix, as in spacy-elmo.ElmoListener.v1. The
    others: see E5Shim.
    """
    shim = E5Shim(cache, learn_rate_factor, warmup, bfloat16)
    mix = ScalarMix(
        shim.encoder.n_layers, mix_dropout=mix_dropout, weight_penalty=weight_penalty, layer_norm=layer_norm
    )
    mix.attrs["input_gradient"] = not shim.frozen
    dims = {"nO": shim.encoder.width}
    return Model(NAME, forward, init=init, layers=[mix], shims=[shim], dims=dims)


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[np.ndarray], Callable[..., Any]]:
    """Return the mixed layers of the docs, and the backprop function of the mix and the encoder."""
    shim: E5Shim = model.shims[0]
    backprop_encoder = None
    if is_train and not shim.frozen:
        layers, backprop_encoder = shim.layers_with_gradient(docs)
    else:
        layers = shim.layers(docs)
    Y, backprop_mix = model.layers[0](layers, is_train)

    def backprop(dY: list[np.ndarray]) -> list[Any]:
        gradients = backprop_mix(dY)
        if backprop_encoder is not None:
            backprop_encoder(gradients)
        return []  # a Doc has no gradient

    return Y, backprop


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Initialize the mix."""
    model.layers[0].initialize()


def cache_layers(model: Model[Any, Any], docs: Sequence[Doc]) -> bool:
    """Compute the layers of docs into the caches of the frozen encoders in a model; False: it has none."""
    stored = [node.shims[0] for node in model.walk() if node.name == NAME and node.shims[0].store is not None]
    for shim in stored:
        shim.layers(docs)
    return bool(stored)


@lru_cache(maxsize=1)
def frozen_encoder() -> E5Encoder:
    """Return an encoder for all that do not train it."""
    return E5Encoder().requires_grad_(False)


def _inputs(docs: Sequence[Doc]) -> tuple[list[str], list[list[Span]]]:
    """Return texts and token spans of docs."""
    return [doc.text for doc in docs], [_spans(doc) for doc in docs]


def _spans(doc: Doc) -> list[Span]:
    return [(token.idx, token.idx + len(token)) for token in doc]


def _key(doc: Doc) -> bytes:
    """Return 16 bytes that stand for text and tokens."""
    return blake2b(repr((doc.text, _spans(doc))).encode(), digest_size=16).digest()
