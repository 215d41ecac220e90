"""Save and load checkpoints: all that a run needs to continue as if it had not stopped.

They are atomic and never pickled. step-N/model is an ordinary model folder, step-N/state.safetensors holds
the optimizer and the random states of all processes, and step-N/state.json the rest.
"""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from ..atomic_io import END, FolderKind, atomic_folder, remove_folder
from ..errors import CheckpointError, OutputError
from ..inference import loading
from ..inference.bilm import BiLM
from ..json_text import parse_json
from ..modeling.serialization import MODEL as MODEL_FOLDER
from .config import PretrainConfig, recorded_parent
from .data.corpus import Corpus
from .data.dataloader import LoaderState
from .data.unit_labels import UnitLabels
from .distributed import DistributedContext
from .metrics import RunningMetrics

MODEL, STATE, TENSORS = "model", "state.json", "state.safetensors"
LABEL_HEAD = "label_head"  # prefix of its tensors
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
    label_head: nn.Module | None = None,
    keep: int,
    context: DistributedContext,
) -> None:
    """Write `folder`/step-N with weights, optimizer, random states and `state`; keep the last `keep`.

    state: result of Trainer.state_dict. All processes of `context` call this function; rank 0 writes.
    """
    tensors = _random_states(context)
    if not context.is_main:
        return
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(t) for name, t in values.items()}
    if label_head is not None:
        tensors |= {f"{LABEL_HEAD}.{name}": t for name, t in label_head.state_dict().items()}
    with atomic_folder(folder / _name_of(state), CHECKPOINT) as scratch:
        model.save(scratch / MODEL)
        try:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, scratch / TENSORS)
        except safetensors.SafetensorError as error:  # of a full disk, too
            raise OutputError(f"Cannot write a checkpoint to {folder}: {error}.") from error
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


def _random_states(context: DistributedContext) -> dict[str, Tensor]:
    """Return the states of torch's generators in every process, by rank."""
    found = {f"rng.torch.{i}": t for i, t in enumerate(context.all_gather(torch.get_rng_state()))}
    if context.device.type == "cuda":
        states = context.all_gather(torch.cuda.get_rng_state(context.device))
        found |= {f"rng.cuda.{i}": t for i, t in enumerate(states)}
    return found


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))


def find_start(
    checkpoints: Path, *, run_file: Path, model: Path
) -> tuple[Path | None, dict[str, Any] | None, dict[str, Any] | None]:
    """Return the last checkpoint, its state, and the record of the run; None for what does not exist.

    A run without checkpoints has only a record, which counts if it was evaluated after a step. run_file:
    holds the record. model: folder of the finished model, which is not overwritten by a run that begins
    again. Raises a CheckpointError if it exists without a checkpoint, or if a file is damaged.
    """
    if found := find_checkpoints(checkpoints):
        state = read_state(found[-1])
        return found[-1], state, state["record"]
    if model.exists():
        raise CheckpointError(
            f"{run_file.parent} holds a model but no checkpoint: name another folder, or delete this one."
        )
    if not run_file.exists():
        return None, None, None
    try:
        record: dict[str, Any] = parse_json(run_file.read_bytes())
        whole = _has_sections(record)
        trained = any(row["step"] > 0 for row in record["log"])
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise CheckpointError(f"{run_file} is damaged: name another folder, or delete this one.")
    return None, None, record if trained else None


def read_state(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, see save_checkpoint. Raises a CheckpointError."""
    try:
        state: dict[str, Any] = parse_json((path / STATE).read_bytes())
        LoaderState(**state["loader_state"])
        RunningMetrics(**state["metrics"])
        whole = _is_whole(state) and path.name == _name_of(state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupted(path) from error
    if not whole:
        raise _corrupted(path)
    return state


def _name_of(state: dict[str, Any]) -> str:
    return f"step-{state['step']:09d}"


def _is_whole(state: dict[str, Any]) -> bool:
    """Return whether a state has all values that a run reads, with the right types, none of a later step."""
    record, metrics = state["record"], state["metrics"]
    counts: list[Any] = [state["step"], *state["loader_state"].values(), metrics["steps"], metrics["tokens"]]
    counts += [record[key] for key in ("parameters", "vocab", "batch_tokens", "tokens_seen")]
    counts.append(metrics.get("n_labels", 0))
    numbers: list[Any] = [
        metrics.get("label_nll", 0.0),
        metrics["loss"],
        metrics["seconds"],
        record["seconds"],
    ]
    for row in record["log"]:
        counts += [row["step"], row["epoch"]]
        numbers += [row["dev"]["forward"], row["dev"]["backward"]]
        numbers += [value for key, value in row.items() if key != "dev"]
    if "best" in record:
        counts += [record["best"]["step"], record["best"]["since"]]
        numbers.append(record["best"]["perplexity"])
    steps = [row["step"] for row in record["log"]]
    if "best" in record:
        steps.append(record["best"]["step"])
    return (
        all(type(count) is int and 0 <= count < 2**63 for count in counts)
        and all(type(number) in (int, float) for number in numbers)
        and _has_sections(record)
        and type(record["settings"]["training"]["max_steps"]) is int
        and record["batch_tokens"] > 0
        and len(record["log"]) > 0
        and max(steps) <= state["step"]
    )


def _has_sections(record: dict[str, Any]) -> bool:
    return all(isinstance(part, dict) for part in (record["settings"], *record["settings"].values()))


def settings_to_continue(
    record: dict[str, Any],
    config: PretrainConfig,
    output: Path,
    *,
    corpus: Corpus,
    labels: UnitLabels | None,
) -> PretrainConfig:
    """Return the settings of a run that continues: `config`, with the recorded init_from.

    output: folder of the run. Raises a CheckpointError unless the record is that of a run with these
    settings, corpus and labels.
    """
    other = config.find_conflict(record["settings"])
    what = f"other settings ({other})" if other else None
    if record.get("corpus") != corpus.digest:
        what = "another corpus"
    elif record.get("labels") != (None if labels is None else labels.digest):
        what = "labels" if labels is None else "other labels, or none"
    if what:
        raise CheckpointError(f"{output} holds a run with {what}: name another folder, or delete this one.")
    return replace(config, paths=replace(config.paths, init_from=recorded_parent(record["settings"])))


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
    path: Path,
    state: dict[str, Any],
    *,
    optimizer: torch.optim.Optimizer,
    label_head: nn.Module | None = None,
    context: DistributedContext,
) -> None:
    """Restore the optimizer, the label head and the random states. A new process keeps its own random state.

    state: result of read_state.
    """
    try:
        data = (path / TENSORS).read_bytes()
        tensors = load(data)
    except (OSError, safetensors.SafetensorError) as error:
        raise _corrupted(path) from error
    if sha256(data).hexdigest() != state.get("sha256"):
        raise _corrupted(path)
    try:
        if label_head is not None:
            _load_label_head(tensors, label_head)
        stored = _optimizer_state(tensors, optimizer)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": stored, "param_groups": groups})
        if (rng := tensors.get(f"rng.torch.{context.rank}")) is not None:
            torch.set_rng_state(rng)
        if (rng := tensors.get(f"rng.cuda.{context.rank}")) is not None and context.device.type == "cuda":
            torch.cuda.set_rng_state(rng, context.device)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _corrupted(path) from error


def _load_label_head(tensors: dict[str, Tensor], label_head: nn.Module) -> None:
    """Restore the weights of the head. Raises a ValueError or RuntimeError if they do not fit it."""
    prefix = f"{LABEL_HEAD}."
    found = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if not all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in found.values()):
        raise ValueError("the label head holds values that are not finite float32 numbers")
    label_head.load_state_dict(found)


def _optimizer_state(
    tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Return the state of each parameter, by its number.

    Raises a ValueError if it does not fit the optimizer.
    """
    stored: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            stored.setdefault(int(number), {})[key] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in stored.items():
        shape = parameters[index].shape if 0 <= index < len(parameters) else None
        shapes = {"step": torch.Size(), "exp_avg": shape, "exp_avg_sq": shape}
        if {key: t.shape for key, t in values.items()} != shapes:
            raise ValueError(f"the optimizer does not use this state of parameter {index}")
        if not all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in values.values()):
            raise ValueError(
                f"the state of parameter {index} holds values that are not finite float32 numbers"
            )
    return stored


def _corrupted(path: Path) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} is damaged: delete it to continue from the previous one.")
