"""Save and load checkpoints: all that a run needs to continue as if it had not stopped.

They are atomic and never pickled. step-N/model is an ordinary model folder, step-N/state.safetensors holds
the optimizer and the random states of all processes, and step-N/state.json the rest.
"""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from ..atomic_io import END, FolderKind, atomic_folder, remove_folder
from ..errors import CheckpointError
from ..inference import loading
from ..inference.bilm import BiLM
from ..modeling.serialization import MODEL as MODEL_FOLDER
from .config import PretrainConfig
from .data.dataloader import LoaderState
from .distributed import DistributedContext

MODEL, STATE, TENSORS = "model", "state.json", "state.safetensors"
CHECKPOINT = FolderKind(
    name="a checkpoint",
    marker=STATE,
    kind="spacy-elmo.checkpoint",
    keys=frozenset({"step", "loader_state", "sha256"}),
    files=(TENSORS, *(f"{MODEL}/{name}" for name in (MODEL_FOLDER.marker, *MODEL_FOLDER.files))),
)


def save_checkpoint(
    folder: Path,
    state: dict[str, Any],
    *,
    model: BiLM,
    optimizer: torch.optim.Optimizer,
    keep: int,
    world: DistributedContext,
) -> None:
    """Write `folder`/step-N with weights, optimizer, random states and `state`; keep the last `keep`.

    state: result of Trainer.state_dict. All processes of `world` call this function; rank 0 writes.
    """
    tensors = _random_states(world)
    if not world.is_main:
        return
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(t) for name, t in values.items()}
    with atomic_folder(folder / f"step-{state['step']:09d}", CHECKPOINT) as scratch:
        model.save(scratch / MODEL)
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, scratch / TENSORS)
        digest = sha256((scratch / TENSORS).read_bytes()).hexdigest()
        stored = {"kind": CHECKPOINT.kind, "sha256": digest, **state}
        (scratch / STATE).write_text(json.dumps(stored), encoding="utf8")
    _remove_old(folder, keep)


def _remove_old(folder: Path, keep: int) -> None:
    """Remove all but the last `keep` checkpoints, and the temporary files of killed runs.

    The caller is the only process that writes to this run, see trainer.pretrain. A checkpoint to which
    somebody added a file stays.
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
    """Return the states of torch's generators in every process, by rank."""
    found = {f"rng.torch.{i}": t for i, t in enumerate(world.all_gather(torch.get_rng_state()))}
    if world.device.type == "cuda":
        states = world.all_gather(torch.cuda.get_rng_state(world.device))
        found |= {f"rng.cuda.{i}": t for i, t in enumerate(states)}
    return found


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))


def read_state(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, see save_checkpoint. Raises a CheckpointError."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf8"))
        LoaderState(**state["loader_state"])
        if not {"step", "metrics", "record"} <= state.keys():
            raise _corrupted(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupted(path) from error
    return state


def check_same_run(state: dict[str, Any], config: PretrainConfig, corpus: str, output: Path) -> None:
    """Raise a CheckpointError unless the state belongs to a run with these settings on this corpus.

    corpus: digest of the corpus. output: folder of the run.
    """
    record = state["record"]
    other = config.find_conflict(record.get("settings", {}))
    what = f"other settings ({other})" if other else None
    if record.get("corpus") != corpus:
        what = "another corpus"
    if what:
        raise CheckpointError(f"{output} holds a run with {what}: name another folder, or delete this one.")


def load_model(path: Path) -> BiLM:
    """Load the biLM of a checkpoint, with weights that are not memory-mapped.

    The alignment of mapped weights varies, and with it the rounding of products: a continued run would not
    end with the same bits.
    """
    try:
        bilm = loading.load(path / MODEL)
    except loading.ModelFolderError as error:
        raise _corrupted(path) from error
    for parameter in bilm.parameters():
        parameter.data = parameter.data.clone()
    return bilm


def load_tensors(
    path: Path, state: dict[str, Any], *, optimizer: torch.optim.Optimizer, world: DistributedContext
) -> None:
    """Restore the optimizer and the random states. A new process keeps its own random state.

    state: result of read_state.
    """
    try:
        data = (path / TENSORS).read_bytes()
        tensors = load(data)
    except (OSError, safetensors.SafetensorError) as error:
        raise _corrupted(path) from error
    if sha256(data).hexdigest() != state.get("sha256"):
        raise _corrupted(path)
    stored: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            stored.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": stored, "param_groups": groups})
    if (rng := tensors.get(f"rng.torch.{world.rank}")) is not None:
        torch.set_rng_state(rng)
    if (rng := tensors.get(f"rng.cuda.{world.rank}")) is not None and world.device.type == "cuda":
        torch.cuda.set_rng_state(rng, world.device)


def _corrupted(path: Path) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} is damaged: delete it to continue from the previous one.")
