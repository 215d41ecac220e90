"""A model folder: config.json, vocab.txt, characters.txt and weights.safetensors, with checksums.

The only currency of the package: pretraining writes one, other formats become one, the component
reads one, `spacy_elmo/models` holds one. Nothing in it is pickled.
"""

import json
import os
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from .atomic import atomic_folder
from .config import FORMAT_VERSION, BiLMConfig, ConfigError
from .errors import ElmoError
from .model import BiLM
from .vocab import Vocab

CONFIG, UNITS, CHARACTERS, WEIGHTS = "config.json", "vocab.txt", "characters.txt", "weights.safetensors"
FOLDER = "spacy_elmo"  # the header's entry for all but the weights, in to_bytes
EMBEDDED = "zh_elmo_sm"

PathLike = str | os.PathLike[str]


class ModelFolderError(ElmoError):
    """A model folder that cannot be read or written."""


def load(path: PathLike | None = None) -> BiLM:
    """Read a model folder. None: the Chinese model that ships inside the package.

    Weights stored in half precision become float32. Raises a ModelFolderError that names what is
    missing, damaged or newer than this version of spacy-elmo.
    """
    folder = embedded() if path is None else Path(path)
    stored = read_json(folder)
    parts = {name: _read(folder, name, entry) for name, entry in stored["files"].items()}
    return _assemble(stored, parts, str(folder))


def save(bilm: BiLM, path: PathLike, *, dtype: torch.dtype | None = None) -> None:
    """Write a model folder: complete beside its place first, then moved there in one step.

    dtype: of the weights on disk (torch.float16 halves them); None: as they are. A folder that holds
    something other than a model is left alone.
    """
    with atomic_folder(path, CONFIG, "a model") as folder:
        for name, data in _parts(bilm, dtype).items():
            (folder / name).write_bytes(data)


def to_bytes(bilm: BiLM) -> bytes:
    """The model folder as one string of bytes: a safetensors file with the other parts in its header."""
    parts = _parts(bilm, None)
    tensors = {name: p.detach() for name, p in bilm.state_dict().items()}
    texts = {name: data.decode("utf8") for name, data in parts.items() if name != WEIGHTS}
    # One entry: safetensors writes several in any order, and the bytes would differ from call to call.
    header = {FOLDER: json.dumps(texts, ensure_ascii=False)}
    return save_tensors({k: t.contiguous() for k, t in tensors.items()}, metadata=header)


def from_bytes(data: bytes) -> BiLM:
    """The inverse of to_bytes."""
    try:
        size = int.from_bytes(data[:8], "little")
        texts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][FOLDER])
        parts = {name: text.encode("utf8") for name, text in texts.items()}
        stored = json.loads(parts.pop(CONFIG))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError("These bytes are not a biLM: they are damaged or of another kind.") from error
    _check(stored, "These bytes are", CONFIG)
    return _assemble(stored, {**parts, WEIGHTS: data}, "the bytes")


def embedded() -> Path:
    """Folder of the model that ships inside the package."""
    folder = Path(str(files("spacy_elmo.models"))) / EMBEDDED
    if not folder.is_dir():
        raise ModelFolderError(
            f"This installation of spacy-elmo has no embedded model ({EMBEDDED}): "
            "install it again, or give the path of a model folder."
        )
    return folder


def read_config(path: PathLike | None = None) -> BiLMConfig:
    """Sizes and switches of a model folder, without its weights. Raises a ModelFolderError."""
    folder = embedded() if path is None else Path(path)
    return _config(read_json(folder), str(folder))


def read_json(folder: Path) -> dict[str, Any]:
    """config.json of a model folder: format version, settings of the biLM, the files' checksums."""
    if not folder.exists():
        raise ModelFolderError(f"There is no model folder {folder}: check the path.")
    if not folder.is_dir():
        raise ModelFolderError(f"{folder} is a file: give the folder that holds {CONFIG}.")
    if not (folder / CONFIG).is_file():
        raise ModelFolderError(f"{folder} is no model folder: it has no {CONFIG}.")
    try:
        stored = json.loads((folder / CONFIG).read_text(encoding="utf8"))
    except ValueError as error:
        raise ModelFolderError(f"{folder / CONFIG} is damaged: get the model again.") from error
    _check(stored, f"{folder} is", folder / CONFIG)
    return stored


def _check(stored: Any, subject: str, config: PathLike) -> None:
    """Whether this is a config.json that this version reads, and has all that reading needs."""
    stored = stored if isinstance(stored, dict) else {}
    version, entries = stored.get("format_version"), stored.get("files")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFolderError(
            f"{subject} of format version {version}, this spacy-elmo reads up to {FORMAT_VERSION}: "
            "update spacy-elmo."
        )
    described = isinstance(entries, dict) and all(
        isinstance(e, dict) and isinstance(e.get("bytes"), int) and "sha256" in e for e in entries.values()
    )
    if not isinstance(version, int) or not described or not isinstance(stored.get("bilm"), dict):
        raise ModelFolderError(f"{config} is damaged or no biLM's: get the model again.")


def _config(stored: dict[str, Any], source: str) -> BiLMConfig:
    try:
        return BiLMConfig.from_dict(stored["bilm"])
    except ConfigError as error:
        raise ModelFolderError(f"The {CONFIG} of {source} describes no biLM: {error}") from error


def _read(folder: Path, name: str, entry: dict[str, Any]) -> bytes:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise ModelFolderError(f"{path} is missing: get the model again.")
    data = path.read_bytes()
    if len(data) != entry["bytes"]:
        what = f"{len(data):,} bytes instead of {entry['bytes']:,}"
        raise ModelFolderError(f"{path} is damaged ({what}): get the model again.")
    if sha256(data).hexdigest() != entry["sha256"]:
        raise ModelFolderError(f"{path} is damaged (its checksum differs): get the model again.")
    return data


def _assemble(stored: dict[str, Any], parts: dict[str, bytes], source: str) -> BiLM:
    config = _config(stored, source)
    for name in (UNITS, WEIGHTS):
        if name not in parts:
            raise ModelFolderError(f"The {CONFIG} of {source} lists no {name}: get the model again.")
    try:
        tensors = load_tensors(parts[WEIGHTS])
    except safetensors.SafetensorError as error:
        raise ModelFolderError(f"The weights of {source} are damaged: get the model again.") from error
    try:
        units, characters = (_lines(parts.get(name, b"")) for name in (UNITS, CHARACTERS))
        with torch.device("meta"):  # no random weights that would be thrown away
            bilm = BiLM(config, Vocab(units, characters, normalized=config.normalize))
    except ValueError as error:  # not UTF-8, or an ElmoError of the network
        raise ModelFolderError(f"The vocabulary of {source} fits no biLM: {error}") from error
    expected = bilm.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        have, want = (tuple(d[name].shape) if name in d else "nothing" for d in (tensors, expected))
        if have != want:
            raise ModelFolderError(f"The weights of {source} hold {have} for {name}, expected {want}.")
    bilm.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)
    for name, parameter in bilm.named_parameters():
        parameter.requires_grad_(not name.endswith("bias_hh_l0"))
    return bilm.eval()


def _parts(bilm: BiLM, dtype: torch.dtype | None) -> dict[str, bytes]:
    """File name -> content; config.json, which has the checksums of the others, comes last."""
    tensors = {name: t.detach().cpu().to(dtype or t.dtype) for name, t in bilm.state_dict().items()}
    parts = {
        UNITS: "".join(f"{unit}\n" for unit in bilm.vocab.units).encode("utf8"),
        WEIGHTS: save_tensors({name: t.contiguous() for name, t in tensors.items()}),
    }
    if bilm.vocab.characters:
        parts[CHARACTERS] = "".join(f"{c}\n" for c in bilm.vocab.characters).encode("utf8")
    stored = {
        "format_version": FORMAT_VERSION,
        "bilm": bilm.config.to_dict(),
        "files": {name: {"bytes": len(d), "sha256": sha256(d).hexdigest()} for name, d in parts.items()},
    }
    parts[CONFIG] = (json.dumps(stored, ensure_ascii=False, indent=2) + "\n").encode("utf8")
    return parts


def _lines(data: bytes) -> list[str]:
    return data.decode("utf8").split("\n")[:-1]  # not splitlines: a unit may be U+2028
