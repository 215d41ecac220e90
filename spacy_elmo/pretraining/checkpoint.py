"""Checkpoints: everything a run needs to go on as if it had not stopped. Atomic, never pickled."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..bilm.atomic import atomic_folder
from ..bilm.errors import ElmoError
from .batches import Position

STATE, TENSORS = "state.json", "tensors.safetensors"


class CheckpointError(ElmoError):
    """A checkpoint that cannot be continued from."""


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    position: Position,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    record: dict[str, Any],
    keep: int,
) -> None:
    """Write `folder`/step-N with weights, optimiser, random state and data position; keep the last `keep`.

    record: anything else of the run, as JSON has it.
    """
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(t) for name, t in state.items()}
    tensors["rng.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    state = {"step": step, "position": asdict(position), **record}
    with atomic_folder(folder / f"step-{step:09d}", STATE, "a checkpoint") as scratch:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, scratch / TENSORS)
        (scratch / STATE).write_text(json.dumps(state), encoding="utf8")
    unfinished = folder.glob(".step-*")  # of runs that were killed
    for old in (*find_checkpoints(folder)[:-keep], *unfinished):
        shutil.rmtree(old)


def find_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))


def read_checkpoint(path: Path) -> tuple[int, Position, dict[str, Any]]:
    """Step, position and record of a checkpoint, without its weights."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf8"))
        return state.pop("step"), Position(**state.pop("position")), state
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def load_checkpoint(path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put model, optimiser and random state back to `path`."""
    try:
        tensors = load_file(path / TENSORS)
    except (OSError, safetensors.SafetensorError) as error:
        raise _damaged(path) from error
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    model.load_state_dict(weights)
    stored: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            stored.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": stored, "param_groups": groups})
    torch.set_rng_state(tensors["rng.torch"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} is damaged: delete it to go on from the one before.")
