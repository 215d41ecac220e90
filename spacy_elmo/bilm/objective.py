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

from .cudnn import exact
from .embed import Batch
from .lstm import Direction, Dropout, reverse
from .model import BiLM
from .sampling import Candidates, CandidateSampler
from .seeds import derive_seed
from .softmax import NOTHING, FullSoftmaxLoss, chunk_of, sampled_softmax_loss
from .vocab import PAD

Leaves = dict[str, Tensor]
Gradients = list[tuple[Tensor, Tensor]]  # each of a parameter


@dataclass(frozen=True, eq=False)
class LMLoss:
    """Negative log-likelihood (natural logarithm) of some sentences, in each direction.

    sums: (2,), forward and backward over all predictions; with a sampled softmax they are no likelihoods.
        It is where it was computed, and to read it is to wait for a GPU.
    n: predictions in one direction; each sentence has one more than it has units, because the boundary
        behind it is predicted too (`</s>` forward, `<s>` backward).
    """

    sums: Tensor
    n: int

    @property
    def forward(self) -> float:
        """Sum of the forward direction."""
        return float(self.sums[0])

    @property
    def backward(self) -> float:
        """Sum of the backward direction."""
        return float(self.sums[1])

    @property
    def mean(self) -> float:
        """Mean over both directions and all predictions, what training lowers (section 3.1)."""
        return (self.forward + self.backward) / (2 * self.n)


def lm_loss(bilm: BiLM, batch: Batch) -> LMLoss:
    """Both directions' losses on a batch, with the full softmax and without gradients."""
    with torch.no_grad():
        # Detached: FullSoftmaxLoss would compute their gradients otherwise, no_grad or not.
        weight, bias = bilm.softmax_weight.detach(), bilm.softmax_bias.detach()
        chunk, losses = chunk_of(bilm.device), []
        sides = _sides(bilm, batch, *bilm.encoder(batch), everywhere=False)
        for side in sides:
            x = side.predict({})
            losses.append(FullSoftmaxLoss.apply(x, weight, bias, side.targets, chunk))
    return LMLoss(torch.stack(losses), len(sides[0].targets))


class TrainingStep:
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
        samples: int | None = None,
    ):
        """dropout: on the input of every LSTM layer and of the softmax. dtype: of the products
        (bfloat16); None: as the weights. samples: units of a sampled softmax; None: the full one."""
        self.bilm, self.dropout, self.dtype = bilm, dropout, dtype
        self._sampler = None if samples is None else CandidateSampler(len(bilm.vocab), samples, bilm.device)
        self.generators = [torch.Generator(bilm.device) for _ in range(2)]  # of the dropout masks
        threads = torch.get_num_threads()
        self.parallel = bilm.device.type == "cpu" and threads > 1
        self.stepwise = False  # see Direction.forward
        self.map: Callable[..., Iterable] = map  # over the directions
        if self.parallel:
            half = (threads // 2,)
            self.map = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=half).map

    @property
    def has_fixed_shapes(self) -> bool:
        """Whether all that it does depends on the shape of the batch alone, and not on what is in it."""
        return self._sampler is None and self.bilm.device.type != "cpu" and self.bilm.encoder.char_cnn is None

    def __call__(self, batch: Batch, seed: int) -> LMLoss:
        """Add the gradients of the batch's mean loss to the parameters. seed: of the dropout masks.

        batch: best on the CPU, also where the model is on a GPU. On a GPU it returns before they are there.
        """
        n = predictions(batch)
        batch = batch.to(self.bilm.device)
        self.seed(seed)
        with exact() if batch.units.is_cuda else nullcontext():
            sums, gradients = self.compute(batch, seed)
        accumulate(gradients)
        return LMLoss(sums, n)

    def seed(self, seed: int) -> None:
        """Begin the dropout masks of a step."""
        for side, generator in enumerate(self.generators):
            generator.manual_seed(derive_seed(seed, f"dropout {side}"))

    def compute(self, batch: Batch, seed: int) -> tuple[Tensor, Gradients]:
        """Sums of losses (2,), and gradients; a parameter that is used in two places is there twice.

        seed: of a sampled softmax; dropout goes on from where its generators are.
        """
        bilm = self.bilm
        below = _leaves(bilm.encoder)
        inputs = functional_call(bilm.encoder, below, (batch,))
        sides = _sides(bilm, batch, *(x.detach() for x in inputs), everywhere=self.has_fixed_shapes)
        # What is drawn decides what is computed: read before anything long is started on a GPU.
        drawn = [
            self._draw(side.targets, derive_seed(seed, f"candidates {i}")) for i, side in enumerate(sides)
        ]
        (forward, ahead), (backward, back) = self.map(self._direction, sides, self.generators, drawn)
        with torch.no_grad():
            found: Gradients = []
            for side, grads in zip(sides, (ahead, back), strict=True):
                found += zip(_trained(side.direction), grads[3:], strict=True)
            found.append((bilm.softmax_weight, ahead[1] + back[1]))
            found.append((bilm.softmax_bias, ahead[2] + back[2]))
            d_inputs = [ahead[0], reverse(back[0], batch.lengths)]
            if inputs[0] is inputs[1]:
                inputs, d_inputs = inputs[:1], [d_inputs[0] + d_inputs[1]]
        grads = torch.autograd.grad(inputs, _wanted(below), d_inputs, allow_unused=True)
        found += [(p, g) for p, g in zip(_trained(bilm.encoder), grads, strict=True) if g is not None]
        return torch.stack([forward, backward]), found

    def _draw(self, targets: Tensor, seed: int) -> Candidates | None:
        return None if self._sampler is None else self._sampler.draw(targets, seed)

    def _direction(
        self, side: "_Side", generator: torch.Generator, drawn: Candidates | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Loss of one direction, and its gradients for the input, the softmax and the LSTMs."""
        shared = (side.x, self.bilm.softmax_weight, self.bilm.softmax_bias)
        x, weight, bias = (t.detach().requires_grad_() for t in shared)
        dropout = Dropout(self.dropout, generator) if self.dropout else None
        leaves = _leaves(side.direction)
        side = replace(side, x=x)
        hidden = side.predict(leaves, dropout=dropout, dtype=self.dtype, stepwise=self.stepwise)
        if drawn is None:
            loss = FullSoftmaxLoss.apply(hidden, weight, bias, side.targets, chunk_of(x.device))
        else:
            loss = sampled_softmax_loss(hidden, weight, bias, side.targets, drawn)
        mean = loss / (2 * side.n)
        return loss.detach(), torch.autograd.grad(mean, [x, weight, bias, *_wanted(leaves)])


@dataclass(frozen=True)
class _Side:
    """One direction, and what it reads and predicts.

    x: (B, T, P), embeddings in its order. targets: (n,) the unit that comes next. places: (n,) where that is
    predicted, of the B(T - 1) units with another one behind them; None: at all of these, and where there is
    no next one the target is NOTHING. The reversed sentence begins with </s> and ends with <s>, so both
    directions predict the next unit in their own order.
    """

    direction: Direction
    x: Tensor
    targets: Tensor
    places: Tensor | None

    @property
    def n(self) -> int | Tensor:
        """Predictions."""
        return len(self.targets) if self.places is not None else (self.targets != NOTHING).sum()

    def predict(self, weights: Leaves, *, dropout: Dropout | None = None, **options: Any) -> Tensor:
        """What the softmax reads, (n, P). weights: of the direction; options: of Direction.forward."""
        layers = functional_call(self.direction, weights, (self.x,), {"dropout": dropout, **options})
        hidden = layers[-1][:, :-1].flatten(0, 1)
        if self.places is not None:
            hidden = hidden[self.places]
        return hidden if dropout is None else dropout(hidden)


def _sides(bilm: BiLM, batch: Batch, ahead: Tensor, back: Tensor, *, everywhere: bool) -> list[_Side]:
    """Both directions, given the embeddings (B, T, P) that each reads, from the left to the right.

    everywhere: without `places`, whose number nobody knows beforehand.
    """
    order = batch.units, reverse(batch.units, batch.lengths)
    targets = [units[:, 1:].flatten() for units in order]
    places: Tensor | None = None
    if everywhere:
        targets = [units.masked_fill(units == PAD, NOTHING) for units in targets]
    else:
        places = (targets[0] != PAD).nonzero()[:, 0]  # the same of reversed sentences: padding stays
        targets = [units[places] for units in targets]
    return [
        _Side(bilm.forward_direction, ahead, targets[0], places),
        _Side(bilm.backward_direction, reverse(back, batch.lengths), targets[1], places),
    ]


def predictions(batch: Batch) -> int:
    """Of one direction. Of a batch on a GPU it waits for that."""
    return int((batch.lengths - 1).clamp(min=0).sum())


def accumulate(gradients: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add gradients to those that the parameters have."""
    for parameter, gradient in gradients:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _leaves(module: nn.Module) -> Leaves:
    """The parameters under their names, for one step: what torch notes about them ends with it."""
    return {name: p.detach().requires_grad_(p.requires_grad) for name, p in module.named_parameters()}


def _wanted(leaves: Leaves) -> list[Tensor]:
    return [leaf for leaf in leaves.values() if leaf.requires_grad]


def perplexity(nll: float, n: int) -> float:
    """exp(nll / n): the inverse of the geometric mean of the predictions' probabilities."""
    try:
        return math.exp(nll / n)
    except OverflowError:
        return math.inf
