"""Checkpoints: everything a run needs to go on as if it had not stopped. Atomic, never pickled.

step-N/model is a model folder like any other; step-N/state.safetensors holds the optimiser and each
process's random state; step-N/state.json the rest.
"""

import json
import shutil
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from ..atomic_io import END, FolderKind, atomic_folder, remove_folder
from ..errors import ElmoError
from ..inference import loading
from ..inference.bilm import BiLM
from ..modeling.serialization import MODEL as MODEL_FOLDER
from .data.dataloader import LoaderState
from .distributed import DistributedContext

MODEL, STATE, TENSORS = "model", "state.json", "state.safetensors"
CHECKPOINT = FolderKind(
    name="a checkpoint",
    marker=STATE,
    kind="spacy-elmo.checkpoint",
    keys=frozenset({"step", "position", "sha256"}),
    files=(TENSORS, *(f"{MODEL}/{name}" for name in (MODEL_FOLDER.marker, *MODEL_FOLDER.files))),
)


class CheckpointError(ElmoError):
    """A checkpoint that cannot be continued from."""


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    position: LoaderState,
    model: BiLM,
    optimizer: torch.optim.Optimizer,
    record: dict[str, Any],
    keep: int,
    world: DistributedContext,
) -> None:
    """Write `folder`/step-N with weights, optimiser, random states and data position; keep the last `keep`.

    record: anything else of the run, as JSON has it. All processes of `world` come here, one writes.
    """
    tensors = _random_states(world)
    if not world.is_main:
        return
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(t) for name, t in state.items()}
    with atomic_folder(folder / f"step-{step:09d}", CHECKPOINT) as scratch:
        model.save(scratch / MODEL)
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, scratch / TENSORS)
        digest = sha256((scratch / TENSORS).read_bytes()).hexdigest()
        state = {
            "kind": CHECKPOINT.kind,
            "step": step,
            "position": asdict(position),
            "sha256": digest,
            **record,
        }
        (scratch / STATE).write_text(json.dumps(state), encoding="utf8")
    _remove_old(folder, keep)


def _remove_old(folder: Path, keep: int) -> None:
    """Remove all but the last `keep` checkpoints, and what killed runs left of others.

    The caller is the one process that writes to this run, see trainer.pretrain. A folder to which somebody
    has added a file stays.
    """
    for old in find_checkpoints(folder)[:-keep]:
        if CHECKPOINT.foreign(old) is None:
            remove_folder(old)
    for unfinished in folder.glob(f".step-*{END}"):
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink()


def _random_states(world: DistributedContext) -> dict[str, Tensor]:
    """The states of torch's generators in every process, by rank."""
    found = {f"rng.torch.{i}": t for i, t in enumerate(world.all_gather(torch.get_rng_state()))}
    if world.device.type == "cuda":
        states = world.all_gather(torch.cuda.get_rng_state(world.device))
        found |= {f"rng.cuda.{i}": t for i, t in enumerate(states)}
    return found


def find_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))


def read_checkpoint(path: Path) -> tuple[int, LoaderState, dict[str, Any]]:
    """Step, position and record of a checkpoint, without its weights."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf8"))
        return state.pop("step"), LoaderState(**state.pop("position")), state
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupted(path) from error


def load_model(path: Path) -> BiLM:
    """The biLM of a checkpoint, with its vocabulary, its weights in memory of their own.

    A mapped weight may begin anywhere, and products may round otherwise there: a run that goes on would not
    end with the same bits.
    """
    try:
        bilm = loading.load(path / MODEL)
    except loading.ModelFolderError as error:
        raise _corrupted(path) from error
    for parameter in bilm.parameters():
        parameter.data = parameter.data.clone()
    return bilm


def load_state(path: Path, *, optimizer: torch.optim.Optimizer, world: DistributedContext) -> None:
    """Put optimiser and random state back to `path`. A process that was not there begins anew."""
    _, _, record = read_checkpoint(path)
    try:
        data = (path / TENSORS).read_bytes()
        tensors = load(data)
    except (OSError, safetensors.SafetensorError) as error:
        raise _corrupted(path) from error
    if sha256(data).hexdigest() != record.get("sha256"):
        raise _corrupted(path)
    stored: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            stored.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": stored, "param_groups": groups})
    if (state := tensors.get(f"rng.torch.{world.rank}")) is not None:
        torch.set_rng_state(state)
    if (state := tensors.get(f"rng.cuda.{world.rank}")) is not None and world.device.type == "cuda":
        torch.cuda.set_rng_state(state, world.device)


def _corrupted(path: Path) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} is damaged: delete it to go on from the one before.")
