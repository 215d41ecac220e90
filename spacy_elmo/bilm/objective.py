"""The two language-model losses: what pretraining lowers and what perplexity is computed from."""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .cudnn import no_tf32
from .embed import TokenBatch
from .lstm import Dropout, LSTMStack, reverse_padded
from .model import BiLM
from .sampling import Candidates, CandidateSampler
from .seeds import derive_seed
from .softmax import IGNORE_INDEX, ChunkedCrossEntropy, logit_chunk_size, sampled_softmax_loss
from .vocab import PAD

Leaves = dict[str, Tensor]
Gradients = list[tuple[Tensor, Tensor]]  # each of a parameter


@dataclass(frozen=True, eq=False)
class LMLoss:
    """Negative log-likelihood (natural logarithm) of some sentences, in each direction.

    nll: (2,), forward and backward over all predictions; with a sampled softmax they are no likelihoods.
        It is where it was computed, and to read it is to wait for a GPU.
    n_targets: predictions in one direction; each sentence has one more than it has units, because the
        boundary behind it is predicted too (`</s>` forward, `<s>` backward).
    """

    nll: Tensor
    n_targets: int

    @property
    def forward(self) -> float:
        """Sum of the forward direction."""
        return float(self.nll[0])

    @property
    def backward(self) -> float:
        """Sum of the backward direction."""
        return float(self.nll[1])

    @property
    def mean(self) -> float:
        """Mean over both directions and all predictions, what training lowers (section 3.1)."""
        return (self.forward + self.backward) / (2 * self.n_targets)


def lm_loss(bilm: BiLM, batch: TokenBatch) -> LMLoss:
    """Both directions' losses on a batch, with the full softmax and without gradients."""
    with torch.no_grad():
        # Detached: ChunkedCrossEntropy would compute their gradients otherwise, no_grad or not.
        weight, bias = bilm.softmax_weight.detach(), bilm.softmax_bias.detach()
        chunk, losses = logit_chunk_size(bilm.device), []
        sides = _direction_inputs(bilm, batch, *bilm.token_encoder(batch), static_shapes=False)
        for side in sides:
            x = side.predict({})
            losses.append(ChunkedCrossEntropy.apply(x, weight, bias, side.targets, chunk))
    return LMLoss(torch.stack(losses), len(sides[0].targets))


class TrainStep:
    """Losses and gradients of one batch; on the CPU the two directions run side by side.

    The directions share nothing but the embedding below and the softmax above, so each has its own half
    of the cores: two threads with half the work each lose less than every small product cut in two.
    Gradients are summed in a fixed order, so a step gives the same bits every time.
    """

    def __init__(
        self,
        bilm: BiLM,
        *,
        dropout: float = 0.0,
        dtype: torch.dtype | None = None,
        n_samples: int | None = None,
    ):
        """dropout: on the input of every LSTM layer and of the softmax. dtype: of the products
        (bfloat16); None: as the weights. n_samples: units of a sampled softmax; None: the full one."""
        self.bilm, self.dropout, self.dtype = bilm, dropout, dtype
        self._sampler = (
            None if n_samples is None else CandidateSampler(len(bilm.vocab), n_samples, bilm.device)
        )
        self.generators = [torch.Generator(bilm.device) for _ in range(2)]  # of the dropout masks
        threads = torch.get_num_threads()
        self.runs_directions_in_threads = bilm.device.type == "cpu" and threads > 1
        self.use_fused_kernels = False  # see LSTMStack.forward
        self.map_directions: Callable[..., Iterable] = map  # over the directions
        if self.runs_directions_in_threads:
            half = (threads // 2,)
            self.map_directions = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=half).map

    @property
    def has_static_shapes(self) -> bool:
        """Whether all that it does depends on the shape of the batch alone, and not on what is in it."""
        return (
            self._sampler is None
            and self.bilm.device.type != "cpu"
            and self.bilm.token_encoder.char_cnn is None
        )

    def __call__(self, batch: TokenBatch, seed: int) -> LMLoss:
        """Add the gradients of the batch's mean loss to the parameters. seed: of the dropout masks.

        batch: best on the CPU, also where the model is on a GPU. On a GPU it returns before they are there.
        """
        n = count_targets(batch)
        batch = batch.to(self.bilm.device)
        self.seed(seed)
        with no_tf32() if batch.input_ids.is_cuda else nullcontext():
            sums, gradients = self.loss_and_grads(batch, seed)
        accumulate(gradients)
        return LMLoss(sums, n)

    def seed(self, seed: int) -> None:
        """Begin the dropout masks of a step."""
        for side, generator in enumerate(self.generators):
            generator.manual_seed(derive_seed(seed, f"dropout {side}"))

    def loss_and_grads(self, batch: TokenBatch, seed: int) -> tuple[Tensor, Gradients]:
        """Sums of losses (2,), and gradients; a parameter that is used in two target_positions is there
        twice.

        seed: of a sampled softmax; dropout goes on from where its generators are.
        """
        bilm = self.bilm
        below = _leaf_params(bilm.token_encoder)
        inputs = functional_call(bilm.token_encoder, below, (batch,))
        sides = _direction_inputs(
            bilm, batch, *(x.detach() for x in inputs), static_shapes=self.has_static_shapes
        )
        # What is drawn decides what is computed: read before anything long is started on a GPU.
        drawn = [
            self._sample(side.targets, derive_seed(seed, f"candidates {i}")) for i, side in enumerate(sides)
        ]
        (forward, ahead), (backward, back) = self.map_directions(
            self._direction, sides, self.generators, drawn
        )
        with torch.no_grad():
            found: Gradients = []
            for side, grads in zip(sides, (ahead, back), strict=True):
                found += zip(_trainable(side.direction), grads[3:], strict=True)
            found.append((bilm.softmax_weight, ahead[1] + back[1]))
            found.append((bilm.softmax_bias, ahead[2] + back[2]))
            d_inputs = [ahead[0], reverse_padded(back[0], batch.lengths)]
            if inputs[0] is inputs[1]:
                inputs, d_inputs = inputs[:1], [d_inputs[0] + d_inputs[1]]
        grads = torch.autograd.grad(inputs, _requires_grad(below), d_inputs, allow_unused=True)
        found += [(p, g) for p, g in zip(_trainable(bilm.token_encoder), grads, strict=True) if g is not None]
        return torch.stack([forward, backward]), found

    def _sample(self, targets: Tensor, seed: int) -> Candidates | None:
        return None if self._sampler is None else self._sampler.sample(targets, seed)

    def _direction(
        self, side: "_DirectionInputs", generator: torch.Generator, drawn: Candidates | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Loss of one direction, and its gradients for the input, the softmax and the LSTMs."""
        shared = (side.x, self.bilm.softmax_weight, self.bilm.softmax_bias)
        x, weight, bias = (t.detach().requires_grad_() for t in shared)
        dropout = Dropout(self.dropout, generator) if self.dropout else None
        leaves = _leaf_params(side.direction)
        side = replace(side, x=x)
        hidden = side.predict(
            leaves, dropout=dropout, dtype=self.dtype, use_fused_kernels=self.use_fused_kernels
        )
        if drawn is None:
            loss = ChunkedCrossEntropy.apply(hidden, weight, bias, side.targets, logit_chunk_size(x.device))
        else:
            loss = sampled_softmax_loss(hidden, weight, bias, side.targets, drawn)
        mean = loss / (2 * side.n)
        return loss.detach(), torch.autograd.grad(mean, [x, weight, bias, *_requires_grad(leaves)])


@dataclass(frozen=True)
class _DirectionInputs:
    """One direction, and what it reads and predicts.

    x: (B, T, P), embeddings in its order. targets: (n,) the unit that comes next. target_positions: (n,)
    where that is predicted, of the B(T - 1) units with another one behind them; None: at all of these, and
    where there is no next one the target is IGNORE_INDEX. The reversed sentence begins with </s> and ends
    with <s>, so both directions predict the next unit in their own order.
    """

    direction: LSTMStack
    x: Tensor
    targets: Tensor
    target_positions: Tensor | None

    @property
    def n(self) -> int | Tensor:
        """Predictions."""
        return (
            len(self.targets) if self.target_positions is not None else (self.targets != IGNORE_INDEX).sum()
        )

    def predict(self, weights: Leaves, *, dropout: Dropout | None = None, **options: Any) -> Tensor:
        """What the softmax reads, (n, P). weights: of the direction; options: of LSTMStack.forward."""
        layers = functional_call(self.direction, weights, (self.x,), {"dropout": dropout, **options})
        hidden = layers[-1][:, :-1].flatten(0, 1)
        if self.target_positions is not None:
            hidden = hidden[self.target_positions]
        return hidden if dropout is None else dropout(hidden)


def _direction_inputs(
    bilm: BiLM, batch: TokenBatch, ahead: Tensor, back: Tensor, *, static_shapes: bool
) -> list[_DirectionInputs]:
    """Both directions, given the embeddings (B, T, P) that each reads, from the left to the right.

    static_shapes: without `target_positions`, whose number nobody knows beforehand.
    """
    order = batch.input_ids, reverse_padded(batch.input_ids, batch.lengths)
    targets = [units[:, 1:].flatten() for units in order]
    target_positions: Tensor | None = None
    if static_shapes:
        targets = [units.masked_fill(units == PAD, IGNORE_INDEX) for units in targets]
    else:
        target_positions = (targets[0] != PAD).nonzero()[
            :, 0
        ]  # the same of reversed sentences: padding stays
        targets = [units[target_positions] for units in targets]
    return [
        _DirectionInputs(bilm.forward_lm, ahead, targets[0], target_positions),
        _DirectionInputs(bilm.backward_lm, reverse_padded(back, batch.lengths), targets[1], target_positions),
    ]


def count_targets(batch: TokenBatch) -> int:
    """Of one direction. Of a batch on a GPU it waits for that."""
    return int((batch.lengths - 1).clamp(min=0).sum())


def accumulate(gradients: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add gradients to those that the parameters have."""
    for parameter, gradient in gradients:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _leaf_params(module: nn.Module) -> Leaves:
    """The parameters under their names, for one step: what torch notes about them ends with it."""
    return {name: p.detach().requires_grad_(p.requires_grad) for name, p in module.named_parameters()}


def _requires_grad(leaves: Leaves) -> list[Tensor]:
    return [leaf for leaf in leaves.values() if leaf.requires_grad]


def perplexity(nll: float, n: int) -> float:
    """exp(nll / n): the inverse of the geometric mean of the predictions' probabilities."""
    try:
        return math.exp(nll / n)
    except OverflowError:
        return math.inf
