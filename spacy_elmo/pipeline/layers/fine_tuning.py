"""Fine-tune a biLM: the layers of tokens with a gradient, by torch, and the update of its weights.

A biLM is frozen by default (Peters et al. 2018, section 3.2). Fine-tuning one lets a user compare the two.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...batching import length_buckets
from ...inference.bilm import BiLM
from ...modeling.collate import collate
from ..annotations.alignment import Alignment

BATCH_UNITS = 4096  # units of a batch, padding included

Gradients = Callable[[Sequence[Any]], None]
"""Gradients of the layers (L, n_tokens, D) of each text -> increments of the weights' gradients."""


def layers_with_gradient(bilm: BiLM, alignments: Sequence[Alignment]) -> tuple[list[np.ndarray], Gradients]:
    """Return the layers of each text's tokens, (L, n_tokens, D) float32, and their backprop function.

    They equal those of BiLM.encode in float32 up to rounding.
    """
    sentences = [sentence for each in alignments for sentence in each.sentences]
    with torch.enable_grad():
        states = iter(_states(bilm, sentences))
        pooled = []
        for each in alignments:
            doc_states = [next(states) for _ in each.sentences]
            pooled.append(_pool(bilm, each, doc_states))

    def backprop(gradients: Sequence[Any]) -> None:
        used = [i for i, layers in enumerate(pooled) if layers.requires_grad]
        given = [torch.as_tensor(gradients[i], device=pooled[i].device) for i in used]
        torch.autograd.backward([pooled[i] for i in used], given)

    return [layers.detach().cpu().numpy() for layers in pooled], backprop


def update_weights(bilm: BiLM, key: int, optimizer: Any, factor: float) -> None:
    """Update the weights with their gradients, and clear these.

    key: distinguishes the biLM's weights in thinc's optimizer. factor: factor of the learning rate.
    """
    for name, weights in bilm.named_parameters():
        if weights.grad is None:
            continue
        values, gradient = (_to_numpy(each) for each in (weights, weights.grad))
        updated, _ = optimizer((key, name), values, gradient, lr_scale=factor)
        with torch.no_grad():
            weights.copy_(torch.as_tensor(updated))  # in place, so that prepared weights are renewed
        weights.grad = None


@contextmanager
def averaged_weights(bilm: BiLM, key: int, params: dict[Any, Any]) -> Iterator[None]:
    """Use the averages that an optimizer has of these weights, if it has them, inside of the block."""
    named = {name: w for name, w in bilm.named_parameters() if params.get((key, name)) is not None}
    before = {name: weights.detach().clone() for name, weights in named.items()}
    try:
        with torch.no_grad():
            for name, weights in named.items():
                weights.copy_(torch.as_tensor(params[key, name]))
        yield
    finally:
        with torch.no_grad():
            for name, weights in named.items():
                weights.copy_(before[name])


def _states(bilm: BiLM, sentences: Sequence[Sequence[str]]) -> list[Tensor]:
    """Return the layers of each sentence's units, (L, n, D) with a gradient."""
    found: dict[int, Tensor] = {}
    for group in length_buckets([len(sentence) for sentence in sentences], BATCH_UNITS):
        batch = collate(bilm, [sentences[i] for i in group]).to(bilm.device)
        layers = bilm(batch)  # (L, B, T, D)
        for row, i in enumerate(group):
            found[i] = layers[:, row, 1 : 1 + len(sentences[i])]
    return [found[i] for i in range(len(sentences))]


def _pool(bilm: BiLM, alignment: Alignment, states: Sequence[Tensor]) -> Tensor:
    """Return the layers of the tokens of a text, as annotations.alignment.token_layers computes them."""
    shape = bilm.n_layers, alignment.n_tokens, bilm.width
    if not len(alignment.token_ids):
        return torch.zeros(shape, device=bilm.device)
    units = torch.cat(list(states), 1)[:, torch.as_tensor(alignment.unit_ids)]  # (L, k, D)
    starts = torch.as_tensor(alignment.unit_starts)
    lengths = torch.diff(starts, append=torch.tensor([units.shape[1]]))
    ends = starts + lengths - 1
    half = bilm.width // 2
    token_of = torch.repeat_interleave(torch.arange(len(starts)), lengths)
    sums = torch.zeros(len(starts), bilm.width, device=units.device).index_add(0, token_of, units[0])
    embedding = sums / lengths[:, None].to(units.device)
    above = torch.cat([units[1:, ends, :half], units[1:, starts, half:]], -1)
    tokens = torch.cat([embedding[None], above])  # (L, m, D)
    rows = torch.zeros(shape, device=units.device)
    return rows.index_copy(1, torch.as_tensor(alignment.token_ids), tokens)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())  # a copy: thinc's optimizer writes into it
