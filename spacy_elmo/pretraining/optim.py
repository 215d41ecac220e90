"""Build the train step and the optimizer, and compute the learning rate."""

import logging
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from ..inference.bilm import BiLM
from ..kernels.precision import resolve_compute_dtype
from ..seeds import derive_seed
from ..syscalls import keep_freed_memory
from .config import TrainingConfig
from .data.unit_labels import UnitLabels
from .distributed import DistributedContext
from .step.cuda_graphs import CUDAGraphTrainStep, with_cuda_graphs
from .step.label_head import LabelHead
from .step.train_step import TrainStep

log = logging.getLogger("spacy_elmo")

Step = TrainStep | CUDAGraphTrainStep


def build_train_step(bilm: BiLM, training: TrainingConfig, label_head: LabelHead | None = None) -> Step:
    """Build the step that computes losses and gradients, on the device of the biLM.

    label_head: predicts labels of units, too; None: no labels.
    """
    keep_freed_memory()  # each step allocates the same large tensors again
    bf16 = resolve_compute_dtype(training.precision, bilm.device) is torch.bfloat16
    return with_cuda_graphs(
        TrainStep(
            bilm,
            dropout=training.dropout,
            dtype=torch.bfloat16 if bf16 else None,
            n_samples=training.n_samples if training.softmax == "sampled" else None,
            label_head=label_head,
            label_loss_weight=training.label_loss_weight,
        )
    )


def build_label_head(
    bilm: BiLM, labels: UnitLabels | None, training: TrainingConfig, context: DistributedContext
) -> LabelHead | None:
    """Build the layer that predicts the labels, with the same random weights in all processes.

    None without labels.
    """
    if labels is None:
        return None
    torch.manual_seed(derive_seed(training.seed, "label head"))
    head = LabelHead(bilm.config.projection_dim, len(labels.names)).to(bilm.device)
    context.broadcast(head.state_dict().values())
    return head


def build_optimizer(parameters: Iterable[Tensor], training: TrainingConfig) -> torch.optim.Optimizer:
    """Build a fused AdamW, which is several times faster. Weight decay applies to matrices, not to biases."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.99), fused=True)


def lr_at(step: int, training: TrainingConfig) -> float:
    """Return the learning rate of a step: linear warm-up, constant rate, linear decay to zero at max_steps.

    The constant part exists only if decay_steps leaves room for it.
    """
    warm = (step + 1) / (training.warmup_steps + 1)
    decay = training.decay_steps or max(1, training.max_steps - training.warmup_steps)
    left = (training.max_steps - step) / decay
    return training.learning_rate * min(warm, left, 1.0)


def log_new_end(step: int, training: TrainingConfig, before: int) -> None:
    """Log the effect of a changed max_steps on a run that continues at `step`. before: the old max_steps."""
    log.info(
        "max_steps changed from %d to %d: the learning rate continues at %.2g instead of %.2g, and "
        "falls to zero at the new end",
        before,
        training.max_steps,
        lr_at(step, training),
        lr_at(step, replace(training, max_steps=before)),
    )
