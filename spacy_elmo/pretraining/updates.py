"""Steps of the weights over all processes: started, and what came of them read when a GPU is through."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..modeling.loss import count_targets
from ..modeling.token_encoder import TokenBatch
from ..seeds import derive_seed
from .config import TrainingConfig
from .distributed import DistributedContext
from .optim import Step
from .preemption import SigtermFlag


@dataclass(frozen=True)
class Update:
    """A step of the weights over all processes, but for `nll`, which is this one's sum of losses.

    nll, norm (of the gradient): scalars on the device, to read them is to wait for it.
    """

    nll: Tensor
    norm: Tensor
    predictions: int
    tokens: int


class Updates:
    """What is done with every batch."""

    def __init__(
        self,
        step: Step,
        optimizer: torch.optim.Optimizer,
        training: TrainingConfig,
        world: DistributedContext,
    ):
        self._step, self._optimizer, self._training, self._world = step, optimizer, training, world
        self._parameters = list(step.bilm.parameters())

    def start(self, batch: TokenBatch, rate: float, number: int) -> Update:
        """Step `number` of the run, on this process's share of a batch. It does not wait for a GPU."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        own = count_targets(batch)
        total, tokens = self._world.all_reduce_sum([own, float(batch.lengths.sum())])
        nll = torch.zeros(())
        if len(batch.lengths):
            # Each process has dropout masks of its own; the first has those of a run with one process.
            seed = derive_seed(self._training.seed, "step", rank=self._world.rank, step=number)
            nll = self._step(batch, seed).nll.double().sum()
        self._world.all_reduce_gradients(self._parameters, own / total)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._training.grad_clip)
        self._optimizer.step()
        return Update(nll, norm, int(total), int(tokens))

    def result(self, update: Update, sigterm: SigtermFlag) -> tuple[float, float, bool]:
        """Mean loss, norm of the gradient, and whether to stop; waits for a GPU."""
        nll, stop = self._world.all_reduce_sum([float(update.nll), float(sigterm.received)])
        return nll / (2 * update.predictions), float(update.norm), stop > 0
