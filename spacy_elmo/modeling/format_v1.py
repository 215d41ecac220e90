"""Translate the names of settings, tensors and files of format version 1 to the current ones."""

import re
from collections.abc import Mapping
from typing import Any

SETTINGS = {
    "encoder": "token_encoder",
    "projection": "projection_dim",
    "hidden": "hidden_size",
    "skip": "use_skip_connections",
    "projection_clip": "proj_clip",
    "table_width": "embedding_dim",
    "ngrams": "n_ngrams",
    "ngram_width": "ngram_dim",
    "longest_ngram": "max_ngram_length",
    "static_rows": "n_static_vectors",
    "static_width": "static_dim",
    "char_width": "char_embedding_dim",
    "max_characters": "max_characters_per_token",
    "longest_unit": "max_unit_length",
    "spelling": "char_input",
    "char_padding": "convolve_padding",
    "joined": "stacked_bidirectional",
    "softmax": "has_softmax",
    "tied_softmax": "tie_softmax",
    "max_sentence": "max_sentence_length",
    "normalize": "fold_fullwidth",
}
VALUES = {
    "token_encoder": {"table": "embedding"},
    "char_input": {"character": "unicode", "byte": "utf8"},
}
FILES = {"static.txt": "static_vocab.txt"}
TENSORS = (
    (r"^encoder\.table\.", "token_encoder.embedding."),
    (r"^encoder\.ngrams\.", "token_encoder.ngram_embedding."),
    (r"^encoder\.project\.", "token_encoder.projection."),
    (r"^encoder\.char_cnn\.table\.", "token_encoder.char_cnn.embedding."),
    (r"^encoder\.", "token_encoder."),
    (r"^(forward|backward)_direction\.", r"\1_lm."),
    (r"^joined_directions\.project\.", "stacked_bilstm.projection."),
    (r"^joined_directions\.", "stacked_bilstm."),
)


def settings(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a biLM under their current names. Other keys and values are unchanged."""
    new = {SETTINGS.get(key, key): value for key, value in old.items()}
    for key, values in VALUES.items():
        if isinstance(new.get(key), str):
            new[key] = values.get(new[key], new[key])
    return new


def tensor_name(old: str) -> str:
    """Return the current name of a tensor of version 1."""
    for pattern, new in TENSORS:
        if re.match(pattern, old):
            return re.sub(pattern, new, old)
    return old
