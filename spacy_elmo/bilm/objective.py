"""The two language-model losses: what pretraining lowers and what perplexity is computed from."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .embed import Batch
from .kernels import column_sums, kernels
from .lstm import Direction, Dropout, reverse
from .model import BiLM
from .sampling import CandidateSampler
from .vocab import PAD

Side = tuple[Direction, Tensor, Tensor]

CHUNK = 512  # predictions whose logits are held at once


class FullSoftmaxLoss(torch.autograd.Function):
    """Sum of -log softmax(x W^T + b)[target], in chunks, so that no N x V matrix is kept.

    The gradient is computed on the way forward, while a chunk's logits are there; products run in the
    type of `x`, the softmax itself in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, chunk: int) -> Tensor:
        """x: (N, P); weight: (V, P); bias: (V,); targets: (N,). Returns a float32 scalar."""
        w = weight.detach().to(x.dtype)
        d_x, d_weight, d_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        loss = torch.zeros((), device=x.device)
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            logits = F.linear(x[rows], w)  # (n, V)
            part, d_logits = _cross_entropy(logits, bias, targets[rows])
            loss += part
            if any(ctx.needs_input_grad[:3]):
                d_bias += column_sums(d_logits)
                d_x[rows] = d_logits @ w
                d_weight += d_logits.t() @ x[rows]
        ctx.save_for_backward(d_x, d_weight, d_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_x, d_weight, d_bias = ctx.saved_tensors
        return d_x * d_loss.to(d_x.dtype), d_weight * d_loss, d_bias * d_loss, None, None


def _cross_entropy(logits: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor | float, Tensor]:
    """Sum of -log softmax(logits + bias)[target] and the logits' gradient (n, V), which takes their place."""
    native = kernels(logits)
    if native is not None:
        return native.cross_entropy(logits, bias, targets), logits
    scores = logits.float() + bias
    scores -= scores.amax(1, keepdim=True)
    of_target = scores.gather(1, targets[:, None])
    total = scores.exp_().sum(1, keepdim=True)
    gradient = scores.div_(total)
    gradient.scatter_add_(1, targets[:, None], torch.full_like(total, -1.0))
    return (total.log() - of_target).sum(), gradient.to(logits.dtype)


def sampled_softmax_loss(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, sampler: CandidateSampler, seed: int
) -> Tensor:
    """The same over a few units: the targets and those that `sampler` draws.

    A candidate's logit is lowered by the logarithm of its probability to be one, so that the sum over
    candidates is right on average. Shapes as above. No likelihood: it is not comparable to the full softmax.
    """
    candidates, log_chance, places = sampler.draw(targets, seed)
    rows = weight[candidates], bias[candidates] - log_chance
    return FullSoftmaxLoss.apply(x, *rows, places, CHUNK)


@dataclass
class LMLoss:
    """Negative log-likelihood (natural logarithm) of some sentences, in each direction.

    forward, backward: sums over all predictions; with a sampled softmax they are no likelihoods.
    n: predictions in one direction; each sentence has one more than it has units, because the boundary
    behind it is predicted too (`</s>` forward, `<s>` backward).
    """

    forward: float
    backward: float
    n: int

    @property
    def mean(self) -> float:
        """Mean over both directions and all predictions, what training lowers (section 3.1)."""
        return (self.forward + self.backward) / (2 * self.n)


def lm_loss(bilm: BiLM, batch: Batch) -> LMLoss:
    """Both directions' losses on a batch, with the full softmax and without gradients."""
    with torch.no_grad():
        # Detached: FullSoftmaxLoss would compute their gradients otherwise, no_grad or not.
        weight, bias = bilm.softmax_weight.detach(), bilm.softmax_bias.detach()
        sides = _sides(bilm, batch, *bilm.encoder(batch))
        results = (_predict(*side) for side in sides)
        forward, backward = (float(FullSoftmaxLoss.apply(x, weight, bias, y, CHUNK)) for x, y in results)
    return LMLoss(forward, backward, _predictions(batch))


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
        threads = torch.get_num_threads()
        self.parallel = bilm.device.type == "cpu" and threads > 1
        self._pool: ThreadPoolExecutor | None = None
        if self.parallel:
            half = (threads // 2,)
            self._pool = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=half)

    def __call__(self, batch: Batch, seed: int) -> LMLoss:
        """Add the gradients of the batch's mean loss to the parameters. seed: of the dropout masks."""
        bilm, n = self.bilm, _predictions(batch)
        inputs = bilm.encoder(batch)
        sides = _sides(bilm, batch, *(x.detach() for x in inputs))
        run = map if self._pool is None else self._pool.map
        results = run(lambda side, i: self._direction(side, 2 * seed + i, n), sides, (0, 1))
        (forward, ahead), (backward, back) = results
        with torch.no_grad():
            for side, grads in zip(sides, (ahead, back), strict=True):
                for parameter, grad in zip(_trained(side[0]), grads[3:], strict=True):
                    _accumulate(parameter, grad)
            _accumulate(bilm.softmax_weight, ahead[1] + back[1])
            _accumulate(bilm.softmax_bias, ahead[2] + back[2])
            d_inputs = ahead[0], reverse(back[0], batch.lengths)
        if inputs[0] is inputs[1]:
            inputs[0].backward(d_inputs[0] + d_inputs[1])
        else:
            torch.autograd.backward(inputs, d_inputs)
        return LMLoss(forward, backward, n)

    def _direction(self, side: Side, seed: int, n: int) -> tuple[float, tuple[Tensor, ...]]:
        """Loss of one direction, and its gradients for the input, the softmax and the LSTMs."""
        direction, x, units = side
        shared = (x, self.bilm.softmax_weight, self.bilm.softmax_bias)
        x, weight, bias = (t.detach().requires_grad_() for t in shared)
        dropout = Dropout(self.dropout, seed, x.device) if self.dropout else None
        hidden, targets = _predict(direction, x, units, dropout=dropout, dtype=self.dtype)
        if self._sampler is None:
            loss = FullSoftmaxLoss.apply(hidden, weight, bias, targets, CHUNK)
        else:
            loss = sampled_softmax_loss(hidden, weight, bias, targets, self._sampler, seed)
        grads = torch.autograd.grad(loss / (2 * n), [x, weight, bias, *_trained(direction)])
        return float(loss.detach()), grads


def _sides(bilm: BiLM, batch: Batch, ahead: Tensor, back: Tensor) -> list[Side]:
    """For each direction its LSTMs, and embeddings (B, T, P) and units (B, T) in the order it reads."""
    flipped = reverse(back, batch.lengths), reverse(batch.units, batch.lengths)
    return [(bilm.forward_direction, ahead, batch.units), (bilm.backward_direction, *flipped)]


def _predictions(batch: Batch) -> int:
    return int(batch.lengths.sum()) - len(batch.lengths)


def _predict(
    direction: Direction,
    x: Tensor,
    units: Tensor,
    *,
    dropout: Dropout | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """What the softmax reads (n, P), and the unit that comes next (n,). The reversed sentence begins with
    </s> and ends with <s>, so both directions predict the next unit in their own order."""
    hidden = direction(x, dropout=dropout, dtype=dtype)[-1][:, :-1]  # (B, T - 1, P)
    targets = units[:, 1:]
    real = targets != PAD
    hidden = hidden[real] if dropout is None else dropout(hidden[real])  # (n, P)
    return hidden, targets[real]


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _accumulate(parameter: Tensor, grad: Tensor) -> None:
    parameter.grad = grad if parameter.grad is None else parameter.grad + grad


def perplexity(nll: float, n: int) -> float:
    """exp(nll / n): the inverse of the geometric mean of the predictions' probabilities."""
    try:
        return math.exp(nll / n)
    except OverflowError:
        return math.inf
