"""Write a biLM of characters as one file for the browser: its tables, LSTM weights and vocabulary."""

import json
from collections.abc import Iterator

import torch
from safetensors.torch import save
from torch import Tensor

from spacy_elmo.errors import ElmoError
from spacy_elmo.inference.backends.lstm_weights import lstm_options, lstm_weights
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.quantization import SCALE_SUFFIX, quantize_rows
from spacy_elmo.modeling.traditional import missing_forms
from spacy_elmo.text import is_east_asian

N_CODE_POINTS = 0x110000


def export_model(bilm: BiLM) -> bytes:
    """Return a safetensors file with all that encoder.js reads.

    Each tensor has the smallest type that loses nothing: int8 with a scale for each row, for n-grams, then
    half precision, then float32. Static vectors and the softmax are left out.

    Raises:
        ElmoError: The model reads words, or has a char-CNN or layers that read both directions.
    """
    config, encoder = bilm.config, bilm.token_encoder
    if (
        config.units != "char"
        or config.token_encoder != "embedding"
        or config.effective_embedding_dim != config.projection_dim
        or config.stacked_bidirectional
    ):
        raise ElmoError(
            "The browser computes only models of characters whose encoder is a table as wide as the "
            "projection: give such a model folder."
        )
    assert encoder.embedding is not None
    tensors = {"embedding": _smallest(encoder.embedding.weight)}
    if encoder.ngram_embedding is not None:
        tensors |= _ngrams(encoder.ngram_embedding.weight)
    for name, direction in (("forward", bilm.forward_lm), ("backward", bilm.backward_lm)):
        for layer, cell in enumerate(lstm_weights(direction)):
            weights = {"w_ih": cell.w_ih, "w_hh": cell.w_hh, "bias": cell.bias, "w_hr": cell.w_hr}
            tensors |= {f"{name}.{layer}.{k}": _smallest(w) for k, w in weights.items() if w is not None}
    return save(tensors, _metadata(bilm))


def _metadata(bilm: BiLM) -> dict[str, str]:
    """Return sizes, switches and the vocabulary, which encoder.js needs in addition to the weights."""
    config, vocab = bilm.config, bilm.vocab
    options = lstm_options(bilm.forward_lm)
    switches = {
        "projection": config.projection_dim,
        "hidden": config.hidden_size,
        "nLayers": config.n_layers,
        "skip": options.skip,
        "cellClip": options.cell_clip,
        "projClip": options.proj_clip,
        "scale": bilm.token_encoder.scale,
        "maxNgramLength": vocab.max_ngram_length,
        "maxSentenceLength": config.max_sentence_length,
        "foldsFullWidth": config.fold_fullwidth,
        "name": config.meta.get("name", ""),
    }
    simplified = missing_forms(set(vocab.units)) if config.simplify else {}
    return {
        "config": json.dumps(switches),
        "units": "\n".join(vocab.units),
        "ngrams": "\n".join(vocab.ngrams),
        "simplified": "\n".join(old + new for old, new in simplified.items()),
        "east_asian": json.dumps(list(is_east_asian_ranges())),
    }


def is_east_asian_ranges() -> Iterator[tuple[int, int]]:
    """Yield the first and the last code point of each range of characters for which is_east_asian holds."""
    begin = None
    for code in range(N_CODE_POINTS + 1):
        inside = code < N_CODE_POINTS and is_east_asian(chr(code))
        if inside and begin is None:
            begin = code
        elif not inside and begin is not None:
            yield begin, code - 1
            begin = None


def _smallest(tensor: Tensor) -> Tensor:
    """Return a tensor in half precision if that loses nothing, else in float32."""
    wide = tensor.detach().float().contiguous()
    half = wide.half()
    return half if torch.equal(half.float(), wide) else wide


def _ngrams(table: Tensor) -> dict[str, Tensor]:
    """Return the n-gram table as int8 with its scales if the model was saved so, else as _smallest does."""
    wide = table.detach().float()
    name = "ngram_embedding"
    small = quantize_rows(name, wide)
    scale = small[name + SCALE_SUFFIX]
    if torch.allclose(small[name].float() * scale[:, None], wide, rtol=1e-6, atol=0):
        return {name: small[name].contiguous(), "ngram_scale": scale}
    return {name: _smallest(wide)}
