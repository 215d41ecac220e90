"""What a step is made with: losses and gradients, the optimiser, its learning rate."""

import torch

from ..bilm.graphs import GraphedStep, fastest
from ..bilm.model import BiLM
from ..bilm.objective import TrainingStep
from ..bilm.precision import product_dtype
from .settings import TrainingSettings

Step = TrainingStep | GraphedStep


def make_step(bilm: BiLM, training: TrainingSettings) -> Step:
    """Losses and gradients as the settings say, on the device of the biLM."""
    bf16 = product_dtype(training.precision, bilm.device) is torch.bfloat16
    return fastest(
        TrainingStep(
            bilm,
            dropout=training.dropout,
            dtype=torch.bfloat16 if bf16 else None,
            samples=training.samples if training.softmax == "sampled" else None,
        )
    )


def make_optimizer(bilm: BiLM, training: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW, fused: several times faster; weight decay on matrices, none on biases."""
    trained = [p for p in bilm.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.99), fused=True)


def learning_rate(step: int, training: TrainingSettings) -> float:
    """Linear warm-up, a constant rate where decay_steps leaves room, linear decay to zero at max_steps."""
    warm = (step + 1) / (training.warmup_steps + 1)
    decay = training.decay_steps or max(1, training.max_steps - training.warmup_steps)
    left = (training.max_steps - step) / decay
    return training.learning_rate * min(warm, left, 1.0)
