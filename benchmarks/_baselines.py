"""Build models of equal sizes here and in ELMoForManyLangs as shipped, for the other benchmarks."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab

BASELINE = "elmoformanylangs 0.0.4.post2"
CLIP = 3.0
# The char-CNN of the models that ELMoForManyLangs published.
CHAR_CNN = {
    "char_embedding_dim": 50,
    "char_filters": ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)),
    "n_highway": 2,
    "max_characters_per_token": 48,
}

Encode = Callable[[Sequence[Sequence[str]]], list[np.ndarray]]


def table_model(units: Sequence[str], hidden: int) -> BiLM:
    """Build a biLM with an embedding table, P = H / 8, and random weights of the scale of trained ones."""
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "projection_dim": hidden // 8, "cell_clip": CLIP, "proj_clip": CLIP}
    return BiLM(BiLMConfig(units="word", tie_softmax=False, **sizes), Vocab(units)).eval()


def spelling_model(words: Sequence[str], hidden: int) -> BiLM:
    """Build the same model with a char-CNN."""
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "projection_dim": hidden // 8, "cell_clip": CLIP, "proj_clip": CLIP}
    config = BiLMConfig(units="word", token_encoder="char_cnn", tie_softmax=False, **sizes, **CHAR_CNN)
    return BiLM(config, Vocab(words[:1], sorted(set("".join(words))))).eval()


def baseline_of(bilm: BiLM) -> Encode | None:
    """Build the baseline with the sizes of a model, and its weights if it has a table.

    None: not installed.
    """
    logging.disable(logging.INFO)  # ELMoForManyLangs logs each batch
    try:
        from elmoformanylangs import Embedder
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        _write_baseline(bilm, Path(folder))
        embedder = Embedder(folder, batch_size=64)
    return lambda sentences: embedder.sents2elmo(sentences, output_layer=-2)


def ratio(name: str, seconds: Mapping[str, float]) -> str:
    """Format the speed relative to the baseline, to append to a figure; empty without the baseline."""
    return f" ({seconds[BASELINE] / seconds[name]:.1f}x)" if BASELINE in seconds and name != BASELINE else ""


def _write_baseline(bilm: BiLM, folder: Path) -> None:
    from elmoformanylangs.frontend import Model
    from elmoformanylangs.modules.embedding_layer import EmbeddingLayer

    config, table = bilm.config, bilm.token_encoder.embedding
    embedder = {
        "name": "cnn",
        "activation": "relu",
        "max_characters_per_token": config.max_characters_per_token + 2,
    }
    embedder["filters"] = [list(pair) for pair in config.char_filters]
    embedder["n_highway"] = config.n_highway
    embedder["word_dim"] = 0 if table is None else config.projection_dim
    embedder["char_dim"] = config.char_embedding_dim if table is None else 0
    encoder = {"name": "elmo", "projection_dim": config.projection_dim, "dim": config.hidden_size}
    encoder |= {"cell_clip": CLIP, "proj_clip": CLIP, "n_layers": config.n_layers}
    settings = {"encoder": encoder, "token_embedder": embedder, "dropout": 0.1}
    (folder / "config.json").write_text(json.dumps({"config_path": "sizes.json"}))
    (folder / "sizes.json").write_text(json.dumps(settings))

    if table is None:
        names = ["<oov>", "<pad>", "<bow>", "<eow>", "<bos>", "<eos>", *bilm.vocab.characters]
        ids = {name: i for i, name in enumerate(names)}
        (folder / "char.dic").write_text("".join(f"{c}\t{i}\n" for c, i in ids.items()), encoding="utf8")
        model = Model(settings, None, EmbeddingLayer(config.char_embedding_dim, ids, fix_emb=False))
    else:
        ids = {name: i for i, name in enumerate(["<pad>", "<oov>", "<bos>", "<eos>", *bilm.vocab.units])}
        (folder / "word.dic").write_text("".join(f"{w}\t{i}\n" for w, i in ids.items()), encoding="utf8")
        model = Model(settings, EmbeddingLayer(config.projection_dim, ids, fix_emb=False), None)
        with torch.no_grad():
            model.token_embedder.word_emb_layer.embedding.weight.copy_(
                table.weight * bilm.token_encoder.scale
            )
            model.token_embedder.projection.weight.copy_(torch.eye(config.projection_dim))
            model.token_embedder.projection.bias.zero_()
    for side in ("forward", "backward"):
        for depth, layer in enumerate(getattr(bilm, f"{side}_lm").layers):
            theirs = getattr(model.encoder, f"{side}_layer_{depth}")
            with torch.no_grad():
                theirs.input_linearity.weight.copy_(layer.weight_ih_l0)
                theirs.state_linearity.weight.copy_(layer.weight_hh_l0)
                theirs.state_linearity.bias.copy_(layer.bias_ih_l0 + layer.bias_hh_l0)
                theirs.state_projection.weight.copy_(layer.weight_hr_l0)
    torch.save(model.token_embedder.state_dict(), folder / "token_embedder.pkl")
    torch.save(model.encoder.state_dict(), folder / "encoder.pkl")


def baseline_step(
    units: Sequence[str], hidden: int, sentences: Sequence[Sequence[str]], *, dropout: float, clip: float
) -> Callable[[], None] | None:
    """Return a training step of the baseline on some sentences, as its `train_model` does it.

    None: not installed.
    """
    logging.disable(logging.INFO)
    try:
        from elmoformanylangs.biLM import Model, create_one_batch
        from elmoformanylangs.modules.embedding_layer import EmbeddingLayer
    except ImportError:
        return None
    embedder = {"name": "cnn", "activation": "relu", "max_characters_per_token": 48, "n_highway": 1}
    embedder |= {"filters": [], "word_dim": hidden // 8, "char_dim": 0}
    encoder = {"name": "elmo", "projection_dim": hidden // 8, "dim": hidden, "n_layers": 2}
    encoder |= {"cell_clip": CLIP, "proj_clip": CLIP}
    settings = {"token_embedder": embedder, "encoder": encoder, "dropout": dropout}
    settings["classifier"] = {"name": "softmax"}
    ids = {name: i for i, name in enumerate(["<oov>", "<pad>", "<bos>", "<eos>", *units])}
    torch.manual_seed(0)
    model = Model(settings, EmbeddingLayer(hidden // 8, ids, fix_emb=False), None, len(ids)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    words, characters, _, masks = create_one_batch(sentences, ids, None, settings)

    def run() -> None:
        model.zero_grad()
        forward, backward = model(words, characters, masks)
        ((forward + backward) / 2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return run
