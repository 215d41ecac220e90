"""Read models of ELMoForManyLangs: config.json, char.dic, word.dic, encoder.pkl, token_embedder.pkl.

Names and shapes are in elmoformanylangs_layout. As in ELMoForManyLangs, words are truncated to 48 characters
(not bytes), and padding takes part in the convolutions.
"""

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from ..atomic_io import PathLike
from ..errors import ConfigError, FormatError
from ..inference.bilm import BiLM
from ..inference.loading import build_from_tensors
from ..modeling.config import BiLMConfig
from ..modeling.serialization import vocab_of
from . import elmoformanylangs_layout as layout
from .archive import DAMAGED, ModelArchive, check_archive
from .bilm_tf import LONG
from .elmoformanylangs_layout import Lexicon
from .gate_layout import padded_hidden_size
from .tensor_mapping import LazyTensor, check_count, load_tensors, require

MAX_RECORD_BYTES = 2**20  # of a torch file's record that is not a tensor: the version, names and shapes
MAX_DIGITS = 18  # of an index: as many as always fit into int64
SAFE_TORCH = (2, 10)  # the first whose torch.load(weights_only=True) has no known vulnerability

# Architectures that ship with ELMoForManyLangs under these names, in case a model's `config_path` names one:
# the released models were trained with this one.
DEFAULTS = ("cnn_50_100_512_4096_sample.json", "cnn_0_100_512_4096_sample.json")
SAMPLE = {
    "encoder": {
        "name": "elmo",
        "projection_dim": 512,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 4096,
        "n_layers": 2,
    },
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
        "n_highway": 2,
        "word_dim": 100,
        "char_dim": 50,
        "max_characters_per_token": 50,
    },
}


def load_elmoformanylangs(path: PathLike, *, lang: str | None = None, segmenter: str | None = None) -> BiLM:
    """Load the exact biLM of a folder, or of the zip archive that it was published in.

    A model with the encoder "elmo" has n_layers + 1 layers. A model with the encoder "lstm" has two, of which
    ELMoForManyLangs returns only the second.

    Args:
        path: The folder or zip archive.
        lang: Language to record in the model, since the format does not; None: "xx".
        segmenter: Segmenter to record in the model; None: spaCy's ordinary "Tokenizer".

    Returns:
        The biLM; its layers equal those of ELMoForManyLangs.

    Raises:
        FormatError: Something is missing, unexpected or wrong; the message names it.
    """
    source = ModelArchive(path)
    described = _architecture(source)
    config = config_from(described, source.describe("config.json"), lang=lang, segmenter=segmenter)
    embedder, encoder = described["token_embedder"], described["encoder"]
    words = _lexicon(source, "word.dic", layout.WORD_MARKS) if embedder["word_dim"] > 0 else None
    characters = _lexicon(source, "char.dic", layout.CHAR_MARKS) if embedder["char_dim"] > 0 else None
    stored, where = _stored(source, "token_embedder.pkl"), source.describe("token_embedder.pkl")
    check_count("n_highway", config.n_highway if characters else 0, stored, where)
    tensors = load_tensors(layout.embedder_entries(config, embedder, words, characters), stored, where)
    stored, where = _stored(source, "encoder.pkl"), source.describe("encoder.pkl")
    check_count("n_layers", config.n_layers, stored, where)
    tensors |= load_tensors(layout.encoder_entries(config, encoder["dim"]), stored, where)
    if words and not characters:
        tensors = layout.fold_projection(tensors)
    tensors["softmax_bias"] = torch.zeros(0)
    tensors["untied_softmax_weight"] = torch.zeros(0, config.projection_dim)
    vocab = vocab_of(config, words.forms if words else [], characters.forms if characters else [])
    return build_from_tensors((config, vocab, tensors), str(source.path))


def config_from(described: Any, where: str, *, lang: str | None, segmenter: str | None) -> BiLMConfig:
    """Return our settings for an architecture. Raises a FormatError. where: names its file."""
    where = f"the architecture of {where}"
    kind, projection, hidden, n_layers = (
        require(described, "encoder", key, where=where)
        for key in ("name", "projection_dim", "dim", "n_layers")
    )
    embedder = require(described, "token_embedder", where=where)
    name, word_dim, char_dim = (
        require(described, "token_embedder", key, where=where) for key in ("name", "word_dim", "char_dim")
    )
    kind, name = str(kind).lower(), str(name).lower()
    if kind not in ("elmo", "lstm") or name not in ("cnn", "lstm"):
        raise FormatError(
            f'The encoder "{kind}" over "{name}" in {where} is not supported: only "elmo" and "lstm" over '
            '"cnn" are.'
        )
    sizes = (projection, hidden, n_layers, word_dim, char_dim)
    if not all(isinstance(size, int) for size in sizes) or word_dim <= 0 >= char_dim:
        raise FormatError(f"Sizes are missing in {where}: download the model again.")
    if name == "lstm" and char_dim > 0:
        raise FormatError(
            f'The character encoder "lstm" in {where} is not supported: ELMoForManyLangs cannot run it.'
        )
    settings: dict[str, Any] = {
        "units": "word",
        "token_encoder": "embedding" if char_dim <= 0 else "both" if word_dim > 0 else "char_cnn",
        "projection_dim": projection,
        "hidden_size": hidden if kind == "lstm" else padded_hidden_size(hidden, projection, projected=True),
        "n_layers": n_layers,
        "stacked_bidirectional": kind == "lstm",
        "use_skip_connections": True,
        "has_softmax": False,
        "tie_softmax": False,
        "fold_fullwidth": False,
        "max_sentence_length": LONG,
        "lang": lang or "xx",
        "segmenter": segmenter or "Tokenizer",
        "meta": {"origin": "ELMoForManyLangs"},
    }
    if kind == "elmo":
        clips = (require(described, "encoder", key, where=where) for key in ("cell_clip", "proj_clip"))
        settings |= dict(zip(("cell_clip", "proj_clip"), (clip or None for clip in clips), strict=True))
    if name == "cnn":
        longest = require(described, "token_embedder", "max_characters_per_token", where=where)
        if not isinstance(longest, int) or longest < 3:
            raise FormatError(
                f"max_characters_per_token in {where} must be an integer above 2: download the model again."
            )
        settings["max_unit_length"] = longest - 2
    if char_dim > 0:
        keys = {"filters": "char_filters", "n_highway": "n_highway", "activation": "activation"}
        settings |= {ours: require(embedder, key, where=where) for key, ours in keys.items()}
        settings |= {"embedding_dim": word_dim if word_dim > 0 else None, "char_embedding_dim": char_dim}
        settings |= {"convolve_padding": True, "max_characters_per_token": longest - 2}
    try:
        return BiLMConfig.from_dict(settings)
    except ConfigError as error:
        raise FormatError(f"A biLM cannot be built from {where}: {error}") from error


def _architecture(source: ModelArchive) -> Any:
    """Return the JSON that config.json names: at its path in the folder, by its name there, or SAMPLE.

    A path that leads out of the folder counts as a name alone: it is of the machine where the model was made.
    """
    config = source.json("config.json")
    named = require(config, "config_path", where=source.describe("config.json"))
    if not isinstance(named, str):
        raise FormatError(
            f"The config_path of {source.describe('config.json')} is not a path: download the model again."
        )
    if source.zip is None:
        config_file = None
        with suppress(OSError, ValueError):  # not a path on this system: too long, or with a null byte
            config_file = (source.path / named).resolve()
            if not (config_file.is_relative_to(source.path.resolve()) and config_file.is_file()):
                config_file = None
        if config_file is not None:
            return ModelArchive(config_file.parent).json(config_file.name)
    name = PureWindowsPath(PurePosixPath(named).name).name
    if name in source:
        return source.json(name)
    if name in DEFAULTS:
        return SAMPLE
    raise FormatError(f"{source.path} lacks {name}, which its config.json names: copy that file into it.")


def _lexicon(source: ModelArchive, name: str, marks: tuple[str, ...]) -> Lexicon:
    index: dict[str, int] = {}
    for number, line in enumerate(source.lines(name), 1):
        fields = line.strip().split("\t")
        if len(fields) == 1:  # ELMoForManyLangs reads white space as an ideographic space
            fields.insert(0, "\u3000")
        if len(fields) != 2 or not fields[1].isdecimal() or len(fields[1]) > MAX_DIGITS:
            raise FormatError(
                f'{source.describe(name)}, line {number}: expected "form<TAB>index". Download the file again.'
            )
        index[fields[0]] = int(fields[1])
    for mark in marks:
        if mark not in index:
            raise FormatError(f"{source.describe(name)} lacks {mark}: download the model again.")
    return Lexicon(index, marks)


def _stored(source: ModelArchive, name: str) -> Mapping[str, LazyTensor]:
    """Return the tensors of a torch file. Nothing but tensors is unpickled."""
    where = source.describe(name)
    _check_torch(where)
    data = source.read(name)
    check_archive(data, where)
    _check_records(data, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of damaged files, which are refused below
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(
            f"{where} is damaged, or holds pickled objects other than tensors, which could run any code: "
            "if you trust it, load it yourself and save its state_dict() with torch.save."
        ) from error
    except Exception as error:  # torch checks little: damaged bytes can raise anything
        raise FormatError(f"{where} is not a torch file, or is damaged: download it again.") from error
    if not isinstance(state, Mapping) or not all(_is_plain(t) for t in state.values()):
        raise FormatError(f"{where} is not a state dict of tensors: save its state_dict() with torch.save.")
    return {str(key): _stored_tensor(t) for key, t in state.items()}


def _check_records(data: bytes, where: str) -> None:
    """Raise a FormatError if a record of a torch file, other than a tensor's, is large.

    torch copies these records several times, also into the message of an error. Files before torch 1.6 are
    not zip archives and have none.
    """
    large = []
    with suppress(*DAMAGED), zipfile.ZipFile(io.BytesIO(data)) as archive:
        large = [
            member.filename
            for member in archive.infolist()
            if member.file_size > MAX_RECORD_BYTES and "data" not in PurePosixPath(member.filename).parts[:-1]
        ]
    if large:
        raise FormatError(
            f"{where} is damaged: its record {large[0]} has more than {MAX_RECORD_BYTES:,} bytes; "
            "download it again."
        )


def _check_torch(where: str) -> None:
    """Raise a FormatError if this torch has a known vulnerability: the files may be hostile."""
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE_TORCH:
        raise FormatError(
            f"{where} cannot be read safely with torch {torch.__version__}: a crafted file could run any "
            "code (CVE-2025-32434, below 2.6) or corrupt memory (CVE-2026-24747, below 2.10). Update torch "
            f"to {'.'.join(map(str, SAFE_TORCH))} or newer."
        )


def _is_plain(t: Any) -> bool:
    if not isinstance(t, Tensor) or t.layout != torch.strided or t.is_meta:
        return False
    return t.nbytes <= t.untyped_storage().nbytes()  # an expanded tensor would take much more memory


def _stored_tensor(t: Tensor) -> LazyTensor:
    return LazyTensor(tuple(t.shape), str(t.dtype).removeprefix("torch."), lambda: t)
