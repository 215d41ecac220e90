"""Read and write the files of a model folder: config.json, vocabulary files, weights.safetensors.

The module knows names, bytes and shapes, not the network (see inference.loading). The vocabulary files are
vocab.txt, characters.txt, ngrams.txt and static_vocab.txt. Nothing in a model folder is pickled.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..atomic_io import FolderKind, PathLike, atomic_folder, write_pieces
from ..errors import ConfigError, ElmoError, ModelFolderError
from ..json_text import parse_json
from . import format_v1, quantization
from .config import FORMAT_VERSION, BiLMConfig
from .vocab import Vocab

CONFIG_FILE, VOCAB_FILE, CHARACTERS_FILE, NGRAMS_FILE = (
    "config.json",
    "vocab.txt",
    "characters.txt",
    "ngrams.txt",
)
STATIC_VOCAB_FILE = "static_vocab.txt"
WEIGHTS_FILE = "weights.safetensors"
README = "README.md"  # the model card: written by people, kept when the model is replaced
MODEL = FolderKind(
    name="a model",
    marker=CONFIG_FILE,
    kind="spacy-elmo.model",
    keys=frozenset({"format_version", "bilm", "files"}),
    files=(VOCAB_FILE, CHARACTERS_FILE, NGRAMS_FILE, STATIC_VOCAB_FILE, WEIGHTS_FILE),
    kept=(README,),
)
METADATA_KEY = "spacy_elmo"  # entry of the safetensors header with all files but the weights, see pack()

Tensors = Mapping[str, Tensor]
Contents = tuple[BiLMConfig, Vocab, dict[str, Tensor]]


def read(folder: Path) -> Contents:
    """Read and check the configuration, vocabulary and weights of a folder. Raises a ModelFolderError.

    Weights in float32 are memory-mapped, so processes share them and unused ones cost nothing. Other weights
    are converted to float32, one after another.
    """
    stored = read_json(folder)
    entries = dict(stored["files"])
    if WEIGHTS_FILE not in entries:
        raise _unlisted(WEIGHTS_FILE, str(folder))
    weights = _verify_sha256(folder, WEIGHTS_FILE, entries.pop(WEIGHTS_FILE))
    texts = {name: _read(folder, name, entry) for name, entry in entries.items()}
    return _contents(stored, texts, partial(_load_mapped, weights), str(folder))


def write(
    path: PathLike,
    config: BiLMConfig,
    vocab: Vocab,
    tensors: Tensors,
    *,
    dtype: quantization.StoredType = None,
) -> None:
    """Write a model folder under a temporary name, and rename it when it is complete.

    dtype: type of the weights on disk (torch.float16 halves them and quarters the n-gram tables, see
    modeling.quantization); "smallest": the smallest types that hold the same bits; None: unchanged. A folder
    that holds anything but a model is not replaced.
    """
    parts = {**_vocab_files(vocab), WEIGHTS_FILE: save_tensors(quantization.stored_tensors(tensors, dtype))}
    with atomic_folder(path, MODEL) as folder:
        for name, data in parts.items():
            write_pieces(folder / name, data)
        (folder / CONFIG_FILE).write_bytes(_config_json(config, parts).encode("utf8"))


def pack(config: BiLMConfig, vocab: Vocab, tensors: Tensors) -> bytes:
    """Return a model folder as bytes: a safetensors file with the other files in its header.

    Weights have the smallest types that hold the same bits.
    """
    parts = _vocab_files(vocab)
    texts = {name: data.decode("utf8") for name, data in parts.items()}
    texts[CONFIG_FILE] = _config_json(config, parts)
    # One entry: safetensors writes several in any order, so that the bytes would differ between calls.
    header = {METADATA_KEY: json.dumps(texts, ensure_ascii=False)}
    return save_tensors(quantization.stored_tensors(tensors, "smallest"), metadata=header)


def unpack(data: bytes) -> Contents:
    """Invert pack. Raises a ModelFolderError."""
    try:
        size = int.from_bytes(data[:8], "little")
        texts = parse_json(parse_json(data[8 : 8 + size])["__metadata__"][METADATA_KEY].encode("utf8"))
        stored = parse_json(texts.pop(CONFIG_FILE).encode("utf8"))
        parts = {name: text.encode("utf8") for name, text in texts.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError("These bytes are not a biLM, or are damaged.") from error
    _check(stored, "These bytes are", CONFIG_FILE)
    return _contents(stored, parts, partial(_load_bytes, data), "the bytes")


def read_json(folder: Path) -> dict[str, Any]:
    """Read config.json of a model folder: format version, settings of the biLM, checksums of the files."""
    if not folder.exists():
        raise ModelFolderError(f"The model folder {folder} does not exist: check the path.")
    if not folder.is_dir():
        raise ModelFolderError(f"{folder} is a file: give the folder that holds {CONFIG_FILE}.")
    if not (folder / CONFIG_FILE).is_file():
        raise ModelFolderError(f"{folder} is not a model folder: it lacks {CONFIG_FILE}.")
    try:
        stored: dict[str, Any] = parse_json((folder / CONFIG_FILE).read_bytes())
    except ValueError as error:
        raise ModelFolderError(f"{folder / CONFIG_FILE} is damaged: copy the model again.") from error
    _check(stored, f"{folder} is", folder / CONFIG_FILE)
    return stored


def _check(stored: Any, subject: str, config: PathLike) -> None:
    """Raise a ModelFolderError unless this version can read the config.json."""
    stored = stored if isinstance(stored, dict) else {}
    version, entries = stored.get("format_version"), stored.get("files")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFolderError(
            f"{subject} of format version {version}, but this spacy-elmo reads at most {FORMAT_VERSION}: "
            "update spacy-elmo."
        )
    described = isinstance(entries, dict) and all(
        isinstance(e, dict) and isinstance(e.get("bytes"), int) and "sha256" in e for e in entries.values()
    )
    if not isinstance(version, int) or not described or not isinstance(stored.get("bilm"), dict):
        raise ModelFolderError(f"{config} is damaged, or does not describe a biLM: copy the model again.")


def config_of(stored: dict[str, Any], source: str) -> BiLMConfig:
    """Return the settings of the biLM in a config.json. source: names the folder in a ModelFolderError."""
    try:
        settings = stored["bilm"]
        if stored["format_version"] == 1:
            settings = format_v1.settings(settings)
        return BiLMConfig.from_dict(settings)
    except ConfigError as error:
        raise ModelFolderError(f"The {CONFIG_FILE} of {source} does not describe a biLM: {error}") from error


def _read(folder: Path, name: str, entry: dict[str, Any]) -> bytes:
    """Read a file and check its size and checksum."""
    path = _checked_path(folder, name, entry)
    data = path.read_bytes()
    _check_digest(path, sha256(data).hexdigest(), entry)
    return data


def _verify_sha256(folder: Path, name: str, entry: dict[str, Any]) -> Path:
    """Return the path of a file after checking it, without holding it in memory."""
    path = _checked_path(folder, name, entry)
    checksum = sha256()
    with path.open("rb") as file:
        for chunk in iter(partial(file.read, 2**20), b""):
            checksum.update(chunk)
    _check_digest(path, checksum.hexdigest(), entry)
    return path


def _checked_path(folder: Path, name: str, entry: dict[str, Any]) -> Path:
    """Return the path of a file. Raises a ModelFolderError if it is missing or has another size."""
    path = folder / name
    if Path(name).name != name or not os.path.isfile(path):  # also False where a name is too long
        raise ModelFolderError(f"{path} is missing: copy the model again.")
    size = path.stat().st_size
    if size != entry["bytes"]:
        what = f"{size:,} bytes instead of {entry['bytes']:,}"
        raise ModelFolderError(f"{path} is damaged ({what}): copy the model again.")
    return path


def _check_digest(path: Path, checksum: str, entry: dict[str, Any]) -> None:
    if checksum != entry["sha256"]:
        raise ModelFolderError(f"{path} is damaged (its checksum differs): copy the model again.")


def _load_mapped(path: Path) -> dict[str, Tensor]:
    """Load a safetensors file: map float32 tensors, and read the others into memory."""
    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        halves = [name for name in names if file.get_slice(name).get_dtype() != "F32"]
        tensors |= {name: file.get_tensor(name) for name in names if name not in halves}
    for name in halves:
        # Open the file again for each tensor: its data stays in memory until the file is closed.
        with safe_open(path, framework="pt") as file:
            tensors[name] = quantization.upcast_unless_int8(name, file.get_tensor(name))
    return tensors


def _load_bytes(data: bytes) -> dict[str, Tensor]:
    """Load the bytes of a safetensors file."""
    return {name: quantization.upcast_unless_int8(name, each) for name, each in load_tensors(data).items()}


def _contents(
    stored: dict[str, Any],
    texts: Mapping[str, bytes],
    load_weights: Callable[[], dict[str, Tensor]],
    source: str,
) -> Contents:
    """Build the contents of a model. texts: contents of the vocabulary files, see _vocab_files."""
    config = config_of(stored, source)
    if VOCAB_FILE not in texts:
        raise _unlisted(VOCAB_FILE, source)
    try:
        tensors = load_weights()
        if stored["format_version"] == 1:
            tensors = {format_v1.tensor_name(name): tensor for name, tensor in tensors.items()}
            texts = {format_v1.FILES.get(name, name): text for name, text in texts.items()}
        tensors = quantization.dequantize_rows(tensors)
    except SafetensorError as error:
        raise ModelFolderError(f"The weights of {source} are damaged: copy the model again.") from error
    try:
        lists = [
            _lines(name, texts.get(name, b""))
            for name in (VOCAB_FILE, CHARACTERS_FILE, NGRAMS_FILE, STATIC_VOCAB_FILE)
        ]
        vocab = vocab_of(config, *lists)
    except ElmoError as error:
        raise ModelFolderError(f"The vocabulary of {source} does not fit its settings: {error}") from error
    return config, vocab, tensors


def _unlisted(name: str, source: str) -> ModelFolderError:
    return ModelFolderError(f"The {CONFIG_FILE} of {source} does not list {name}: copy the model again.")


def _vocab_files(vocab: Vocab) -> dict[str, bytes]:
    """Return the vocabulary files: name -> content."""
    lists = {
        VOCAB_FILE: vocab.units,
        CHARACTERS_FILE: vocab.characters,
        NGRAMS_FILE: vocab.ngrams,
        STATIC_VOCAB_FILE: vocab.static,
    }
    return {
        name: "".join(f"{unit}\n" for unit in units).encode("utf8")
        for name, units in lists.items()
        if units or name == VOCAB_FILE
    }


def _config_json(config: BiLMConfig, parts: Mapping[str, bytes]) -> str:
    """Return config.json, with the checksums of the other files."""
    stored = {
        "kind": MODEL.kind,
        "format_version": FORMAT_VERSION,
        "bilm": config.to_dict(),
        "files": {name: {"bytes": len(d), "sha256": sha256(d).hexdigest()} for name, d in parts.items()},
    }
    return json.dumps(stored, ensure_ascii=False, indent=2) + "\n"


def vocab_of(
    config: BiLMConfig,
    units: Sequence[str],
    characters: Sequence[str] = (),
    ngrams: Sequence[str] = (),
    static: Sequence[str] = (),
) -> Vocab:
    """Build the vocabulary of a model with these settings. Raises an ElmoError."""
    return Vocab(
        units,
        characters,
        fold_fullwidth=config.fold_fullwidth,
        simplified=config.simplify,
        uses_bytes=config.char_input == "utf8",
        max_length=config.max_unit_length,
        ngrams=ngrams,
        max_ngram_length=config.max_ngram_length,
        static=static,
    )


def _lines(name: str, data: bytes) -> list[str]:
    try:
        return data.decode("utf8").split("\n")[:-1]  # not splitlines: a unit may be U+2028
    except UnicodeDecodeError as error:
        raise ElmoError(f"{name} is not UTF-8: copy the model again.") from error
