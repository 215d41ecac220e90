"""Read and write models of bilm-tf and AllenNLP: options.json and weights in HDF5.

A model reads words as bytes (a char-CNN) or by a vocabulary.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..atomic_io import FolderKind, PathLike, atomic_folder, write_pieces
from ..errors import ConfigError, FormatError
from ..inference.bilm import BiLM
from ..inference.loading import build_from_tensors
from ..modeling.config import BiLMConfig
from ..modeling.serialization import vocab_of
from . import bilm_tf_layout as layout
from .archive import parse_file_json, read_file, split_lines
from .gate_layout import padded_hidden_size
from .hdf5 import open_tensors, pack_tensors
from .tensor_mapping import LazyTensor, check_count, dump_tensors, load_tensors, require

OPTIONS, WEIGHTS, VOCAB = "options.json", "model.hdf5", "vocab.txt"
UNKNOWN, BEGIN, END = "<UNK>", "<S>", "</S>"
LONG = 512  # units; these systems split no sentences, so split only what is hardly a sentence

# Settings that bilm-tf's options lack: our export records them under this key, which other programs ignore.
OURS = "spacy_elmo"
EXPORT = FolderKind(
    name="a bilm-tf model",
    marker=OPTIONS,
    keys=frozenset({"lstm", OURS}),
    files=(WEIGHTS, VOCAB),
)
RECORDED = ("units", "lang", "segmenter", "fold_fullwidth", "max_sentence_length", "meta")


def load_bilm_tf(
    options: PathLike,
    weights: PathLike,
    *,
    vocab: PathLike | None = None,
    embedding: PathLike | None = None,
    lang: str | None = None,
    segmenter: str | None = None,
) -> BiLM:
    """Load the exact biLM of an options.json and its HDF5 weights.

    Args:
        options: The options.json.
        weights: The weights, HDF5.
        vocab: For word models, the vocabulary of their training, one word per line.
        embedding: HDF5 file with the vectors of that vocabulary (bilm-tf's dump_token_embeddings), used in
            place of the char-CNN.
        lang: Language to record in the model, since the format does not; None: "xx".
        segmenter: Segmenter to record in the model; None: spaCy's ordinary "Tokenizer".

    Returns:
        The biLM; its layers equal those of bilm-tf.

    Raises:
        FormatError: Something is missing, unexpected or wrong; the message names it.
    """
    parsed = parse_file_json(read_file(options), str(options))
    if not isinstance(parsed, dict):
        raise FormatError(f"{options} is not a JSON object: give the options.json of the model.")
    lines = None if vocab is None else split_lines(read_file(vocab), str(vocab))
    origin = {"lang": lang, "segmenter": segmenter}
    with open_tensors(Path(weights), str(weights)) as stored:
        if embedding is None:
            return build(parsed, stored, lines, str(weights), origin)
        with open_tensors(Path(embedding), str(embedding)) as vectors:
            recurrent = {name: s for name, s in stored.items() if name.startswith("RNN")}
            described = {key: value for key, value in parsed.items() if key != "char_cnn"}
            return build(described, {**recurrent, **vectors}, lines, str(weights), origin)


def build(
    options: Any,
    stored: Mapping[str, LazyTensor],
    vocab: Sequence[str] | None,
    where: str,
    origin: Mapping[str, str | None],
) -> BiLM:
    """Build the biLM of parsed options and opened tensors.

    vocab: lines of a vocabulary. where: names the weights. origin: lang and segmenter, None if not known.
    """
    # For a model of one layer, bilm-tf writes the names without the layer.
    stored = {
        name.replace("/RNN/LSTMCell/", "/RNN/MultiRNNCell/Cell0/LSTMCell/"): s for name, s in stored.items()
    }
    by_bytes = isinstance(options, dict) and "char_cnn" in options
    if not by_bytes and "char_embed" in stored:
        raise FormatError(f"{where} holds a char-CNN, but its options lack char_cnn: download them again.")
    if not by_bytes and vocab is None:
        raise FormatError(f"{where} is a word model: give the vocabulary that it was trained with.")
    words, rows, n_words = ([], [], 0) if by_bytes or vocab is None else word_rows(vocab)
    projected = any(name.endswith("W_P_0") for name in stored)
    config = config_from(options, where, origin, projected=projected)
    check_count("n_layers", config.n_layers, stored, where)
    check_count("n_highway", config.n_highway if by_bytes else 0, stored, where)
    entries = layout.lstm_entries(config, options["lstm"]["dim"], projected=projected)
    if by_bytes:
        table = stored.get("char_embed")
        odd = table is not None and table.shape[:1] == (layout.N_ROWS + 1,)
        entries += layout.char_cnn_entries(config, n_rows=layout.N_ROWS + odd)
        if layout.PROJECTION in stored or layout.n_filters(config) != config.projection_dim:
            entries += layout.projection_entries(config)
    else:
        entries.append(layout.embedding_entry(config, rows, n_words))
    tensors = load_tensors(entries, stored, where)
    if by_bytes:
        tensors.setdefault("token_encoder.projection.weight", torch.eye(config.projection_dim))
        tensors.setdefault("token_encoder.projection.bias", torch.zeros(config.projection_dim))
    tensors["softmax_bias"] = torch.zeros(0)
    tensors["untied_softmax_weight"] = torch.zeros(0, config.projection_dim)
    return build_from_tensors((config, vocab_of(config, words), tensors), where)


def config_from(options: Any, where: str, origin: Mapping[str, str | None], *, projected: bool) -> BiLMConfig:
    """Return our settings for an options.json. Raises a FormatError.

    origin: see build. projected: whether the weights have a projection after the cells.
    """
    where = f"the options of {where}"
    lstm = require(options, "lstm", where=where)
    hidden, projection = (require(options, "lstm", key, where=where) for key in ("dim", "projection_dim"))
    if not isinstance(hidden, int) or not isinstance(projection, int):
        raise FormatError(
            f"lstm.dim and lstm.projection_dim in {where} must be integers: download the options again."
        )
    if options.get("bidirectional", True) is not True:
        raise FormatError(
            f"bidirectional is false in {where}, but ELMo needs both directions: give another model."
        )
    settings: dict[str, Any] = {
        "units": "word",
        "projection_dim": projection,
        "hidden_size": padded_hidden_size(hidden, projection, projected=projected),
        "n_layers": lstm.get("n_layers", 1),
        "use_skip_connections": require(options, "lstm", "use_skip_connections", where=where),
        "cell_clip": lstm.get("cell_clip") or None,
        # TensorFlow's cell clips only projected states.
        "proj_clip": (lstm.get("proj_clip") or None) if projected else None,
        "has_softmax": False,
        "tie_softmax": False,
        "fold_fullwidth": False,
        "max_sentence_length": LONG,
        "lang": "xx",
        "segmenter": "Tokenizer",
        "meta": {"origin": "bilm-tf"},
    }
    if "char_cnn" in options:
        cnn = {key: require(options, "char_cnn", key, where=where) for key in ("activation", "filters")}
        longest = require(options, "char_cnn", "max_characters_per_token", where=where)
        settings |= {
            "token_encoder": "char_cnn",
            "char_input": "utf8",
            "convolve_padding": True,
            "char_embedding_dim": require(options, "char_cnn", "embedding", "dim", where=where),
            "char_filters": cnn["filters"],
            "n_highway": options["char_cnn"].get("n_highway") or 0,
            "activation": cnn["activation"],
            "max_characters_per_token": longest - 2 if isinstance(longest, int) else longest,
        }
    recorded = options.get(OURS)
    if isinstance(recorded, dict):
        settings |= {key: recorded[key] for key in RECORDED if key in recorded}
    settings |= {key: value for key, value in origin.items() if value is not None}
    try:
        return BiLMConfig.from_dict(settings)
    except ConfigError as error:
        raise FormatError(f"A biLM cannot be built from {where}: {error}") from error


def word_rows(lines: Sequence[str]) -> tuple[list[str], list[int], int]:
    """Return a vocabulary's words, the rows of their table in our order, and the number of its rows.

    The words are without the special tokens. The rows do not include our padding row. Of two equal lines the
    later one counts, as in bilm-tf.
    """
    kept = [line for line in lines if line.strip() != "!!!MAXTERMID"]  # bilm-tf skips it too
    # bilm-tf strips a line. A line of only white space stays as it is, because our export writes such units.
    index = {line.strip() or line: i for i, line in enumerate(kept)}
    for special in (UNKNOWN, BEGIN, END):
        if special not in index:
            raise FormatError(
                f"The vocabulary lacks {special}: give the one that the model was trained with."
            )
    specials = [index.pop(special) for special in (UNKNOWN, BEGIN, END)]
    return list(index), [*specials, *index.values()], len(kept)


def save_bilm_tf(bilm: BiLM, path: PathLike) -> None:
    """Write a folder of options.json, model.hdf5 and, for models with an embedding table, vocab.txt.

    AllenNLP, bilm-tf and simple_elmo read the folder, and load_bilm_tf gets the same vectors back. The format
    has no place for a softmax.

    Args:
        bilm: The model.
        path: The folder to write.

    Raises:
        FormatError: The format cannot describe this network.
        OutputError: The folder cannot be written.
    """
    config, files = bilm.config, {}
    _check_exportable(config)
    projected = config.hidden_size > config.projection_dim
    entries = layout.lstm_entries(config, config.hidden_size, projected=projected)
    tensors = dict(bilm.state_dict())
    if config.token_encoder == "char_cnn":
        entries += layout.char_cnn_entries(config)
        if not _is_identity(tensors):
            entries += layout.projection_entries(config)
    else:
        lines = [BEGIN, END, UNKNOWN, *bilm.vocab.units]
        _check_words(lines)
        files[VOCAB] = "".join(f"{line}\n" for line in lines).encode("utf8")
        with torch.no_grad():
            table = bilm.token_encoder.projection(
                tensors["token_encoder.embedding.weight"] * bilm.token_encoder.scale
            )
        tensors["token_encoder.embedding.weight"] = table
        entries.append(layout.embedding_entry(config, [2, 0, 1, *range(3, len(lines))], len(lines)))
    files[WEIGHTS] = pack_tensors(dump_tensors(entries, tensors))
    files[OPTIONS] = (json.dumps(_options(config), ensure_ascii=False, indent=2) + "\n").encode("utf8")
    with atomic_folder(path, EXPORT) as folder:
        for name, data in files.items():
            write_pieces(folder / name, data)


def _check_exportable(config: BiLMConfig) -> None:
    if config.n_ngrams:
        raise FormatError("bilm-tf does not support n-grams, so this model cannot be exported.")
    if config.stacked_bidirectional:
        raise FormatError("bilm-tf does not support stacked_bidirectional, so this model cannot be exported.")
    if config.token_encoder == "both":
        raise FormatError("bilm-tf reads words or characters, not both, so this model cannot be exported.")
    if config.token_encoder == "char_cnn" and not (config.char_input == "utf8" and config.convolve_padding):
        raise FormatError(
            'The char-CNN of bilm-tf reads bytes and padding, so only models with char_input = "utf8" and '
            "convolve_padding = true can be exported."
        )
    clip = config.proj_clip
    if (
        config.hidden_size == config.projection_dim and clip is not None and clip < 1
    ):  # without a projection, a state is within +-1 anyway
        raise FormatError(
            "bilm-tf cannot clip LSTM states without a projection, so this model cannot be exported."
        )


def _check_words(lines: Sequence[str]) -> None:
    read, _, _ = word_rows(lines)
    if read != list(lines[3:]):
        raise FormatError(
            "A unit of the vocabulary begins or ends in white space or is a special token of bilm-tf, "
            "so this model cannot be exported."
        )


def _is_identity(tensors: Mapping[str, Tensor]) -> bool:
    weight, bias = tensors["token_encoder.projection.weight"], tensors["token_encoder.projection.bias"]
    square = weight.shape[0] == weight.shape[1]
    return square and torch.equal(weight, torch.eye(len(weight)).to(weight)) and not bias.any()


def _options(config: BiLMConfig) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bidirectional": True,
        "lstm": {
            "dim": config.hidden_size,
            "projection_dim": config.projection_dim,
            "n_layers": config.n_layers,
            "use_skip_connections": config.use_skip_connections,
            "cell_clip": config.cell_clip,
            "proj_clip": config.proj_clip,
        },
        OURS: {key: value for key, value in config.to_dict().items() if key in RECORDED},
    }
    if config.token_encoder == "char_cnn":
        options["char_cnn"] = {
            "activation": config.activation,
            "embedding": {"dim": config.char_embedding_dim},
            "filters": config.char_filters,
            "max_characters_per_token": config.max_characters_per_token + 2,
            "n_characters": 262,  # 261, and the row of zeros that readers put first
            "n_highway": config.n_highway,
        }
    return options


__all__ = ["load_bilm_tf", "save_bilm_tf"]
