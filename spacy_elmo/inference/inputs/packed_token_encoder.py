"""Run the token encoder at inference: distinct units to vectors, independent of the other units.

The result equals that of modeling.token_encoder. The order differs: units of similar length are computed
together, so that few positions are masked, and convolutions are products of packed weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.activations import sigmoid_, tanh
from ...kernels.packed_linear import Linear, packed_linear
from ...modeling.token_encoder import CharCNN, TokenEncoder
from ...modeling.vocab import CHAR_PAD

CHUNK = 256  # units at a time: bounds the memory, and keeps the results of a chunk in the cache


class PackedTokenEncoder:
    """Token encoder with packed weights. dtype: type of the products; all else is float32."""

    def __init__(self, encoder: TokenEncoder, dtype: torch.dtype):
        self.embedding = None if encoder.embedding is None else encoder.embedding.weight.detach().float()
        self.scale = encoder.scale
        self.cnn = None if encoder.char_cnn is None else _PackedCharCNN(encoder.char_cnn, dtype)
        projection = encoder.projection
        self.projection = (
            _packed_linear(projection.weight, projection.bias, dtype)
            if isinstance(projection, nn.Linear)
            else None
        )

    def __call__(self, ids: Tensor, characters: Tensor) -> Tensor:
        """Return vectors (U, P) float32. ids: (U,) rows of the embedding table; characters: (U, C)."""
        order = (characters != CHAR_PAD).sum(1).argsort(stable=True)
        sorted_ = torch.cat([self._chunk(ids[some], characters[some]) for some in order.split(CHUNK)])
        out = torch.empty_like(sorted_)
        out[order] = sorted_
        return out

    def _chunk(self, ids: Tensor, characters: Tensor) -> Tensor:
        parts = []
        if self.embedding is not None:
            parts.append(self.embedding[ids] * self.scale)
        if self.cnn is not None:
            parts.append(self.cnn(characters))
        x = torch.cat(parts, 1)
        return x if self.projection is None else self.projection(x)


class _PackedCharCNN:
    """modeling.token_encoder.CharCNN with packed weights: (U, C) -> (U, F)."""

    def __init__(self, cnn: CharCNN, dtype: torch.dtype):
        self.embedding = cnn.embedding.weight.detach().to(dtype)
        self.reads_padding = cnn.reads_padding
        self.widths = [width for width, _ in cnn.filters]
        weights = [dict(layer.named_parameters()) for layer in cnn.convolutions]
        self.products = [_packed_linear(w["weight"].flatten(1), w["bias"], dtype) for w in weights]
        self.reads_padding = getattr(cnn, "reads_padding", False)
        self.activation: Linear = F.relu if cnn.activation is F.relu else tanh
        self.highways = [_PackedHighway(dict(layer.named_parameters()), dtype) for layer in cnn.highways]

    def __call__(self, characters: Tensor) -> Tensor:
        lengths = (characters != CHAR_PAD).sum(1)
        if not self.reads_padding:
            characters = characters[:, : max(int(lengths.max()), *self.widths)]
        x = self.embedding[characters]  # (U, C, char_embedding_dim)
        pooled = []
        for width, product in zip(self.widths, self.products, strict=True):
            windows = x.unfold(1, width, 1)  # (U, positions, char_embedding_dim, width)
            n, positions = windows.shape[:2]
            y = product(windows.reshape(n * positions, -1)).view(n, positions, -1)
            if not self.reads_padding:
                place = torch.arange(positions, device=lengths.device)
                outside = place > (lengths[:, None] - width).clamp(min=0)  # (U, positions)
                y.masked_fill_(outside[:, :, None], float("-inf"))
            pooled.append(y.amax(1))
        out = self.activation(torch.cat(pooled, 1))
        for highway in self.highways:
            out = highway(out)
        return out


class _PackedHighway:
    """modeling.token_encoder.Highway with packed weights."""

    def __init__(self, weights: dict[str, nn.Parameter], dtype: torch.dtype):
        self.transform = _packed_linear(weights["transform.weight"], weights["transform.bias"], dtype)
        self.gate = _packed_linear(weights["gate.weight"], weights["gate.bias"], dtype)

    def __call__(self, x: Tensor) -> Tensor:
        gate = sigmoid_(self.gate(x))
        return gate * F.relu(self.transform(x)) + (1 - gate) * x


def _packed_linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Linear:
    product = packed_linear(weight.detach().to(dtype), bias.detach().to(dtype))
    return lambda x: product(x.to(dtype)).float()
