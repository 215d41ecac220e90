"""Models of others with random weights, in their own files, and the vectors that these should give."""

import json
from pathlib import Path

import numpy as np
import torch

from . import reference

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "bilm_tf"

# Words of one to four bytes per character, longer than 48 bytes, cut within a character, and like a mark.
SENTENCE = ["The", "cat", "Кошка", "сидит", "的", "😀", "的" * 17, "x" * 60, "<S>", "ü", "."]
WORDS = ["the", "cat", "Кошка", "的", ".", "sat"]

OPTIONS = {
    "lstm": {
        "dim": 12,
        "projection_dim": 6,
        "n_layers": 2,
        "use_skip_connections": True,
        "cell_clip": 3,
        "proj_clip": 3,
    },
    "char_cnn": {
        "activation": "relu",
        "embedding": {"dim": 3},
        "filters": [[1, 4], [2, 3], [5, 2]],
        "max_characters_per_token": 50,
        "n_characters": 262,
        "n_highway": 2,
    },
}


def options(lstm=None, **char_cnn):
    """OPTIONS with changes."""
    return {"lstm": {**OPTIONS["lstm"], **(lstm or {})}, "char_cnn": {**OPTIONS["char_cnn"], **char_cnn}}


def bilm_tf_tensors(options, *, seed=0, n_words=None, scale=0.5):
    """Random tensors in the layout of bilm-tf. n_words: of a model of words; None: of characters."""
    rng = np.random.default_rng(seed)
    lstm = options["lstm"]
    h, p = lstm["dim"], lstm["projection_dim"]
    shapes = {}
    if n_words is None:
        cnn = options["char_cnn"]
        d, f = cnn["embedding"]["dim"], sum(n for _, n in cnn["filters"])
        shapes["char_embed"] = (261, d)
        for i, (width, n) in enumerate(cnn["filters"]):
            shapes |= {f"CNN/W_cnn_{i}": (1, width, d, n), f"CNN/b_cnn_{i}": (n,)}
        for i in range(cnn.get("n_highway", 0)):
            for part in ("carry", "transform"):
                shapes |= {f"CNN_high_{i}/W_{part}": (f, f), f"CNN_high_{i}/b_{part}": (f,)}
        if f != p:
            shapes |= {"CNN_proj/W_proj": (f, p), "CNN_proj/b_proj": (p,)}
    else:
        shapes["embedding"] = (n_words, p)
    for d in range(2):
        for i in range(lstm["n_layers"]):
            cell = f"RNN_{d}/RNN/MultiRNNCell/Cell{i}/LSTMCell"
            shapes |= {f"{cell}/W_0": (2 * p, 4 * h), f"{cell}/B": (4 * h,)}
            if h != p:
                shapes[f"{cell}/W_P_0"] = (h, p)
    return {name: rng.normal(0, scale, shape).astype("float32") for name, shape in shapes.items()}


def write_hdf5(path, tensors):
    import h5py

    with h5py.File(path, "w") as file:
        for name, tensor in tensors.items():
            file.create_dataset(name, data=tensor)


def write_bilm_tf(folder, options, tensors, words=None):
    """Write options.json, model.hdf5 and vocab.txt; the arguments of load_bilm_tf."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(json.dumps(options), encoding="utf8")
    write_hdf5(folder / "model.hdf5", tensors)
    if words is not None:
        lines = "".join(f"{word}\n" for word in words)
        (folder / "vocab.txt").write_text(lines, encoding="utf8")
    return folder / "options.json", folder / "model.hdf5"


def spelled(word, longest):
    """The ids of a word, or of a boundary (256 or 257): `longest` of them."""
    inner = [word] if isinstance(word, int) else list(word.encode("utf8")[: longest - 2])
    ids = [258, *inner, 259]
    return ids + [260] * (longest - len(ids))


def bilm_tf_embeddings(options, tensors, sentence):
    """The char-CNN of a sentence with its boundaries: (n + 2, P)."""
    cnn = options["char_cnn"]
    kernels = [(tensors[f"CNN/W_cnn_{i}"][0], tensors[f"CNN/b_cnn_{i}"]) for i in range(len(cnn["filters"]))]
    rows = []
    for word in (256, *sentence, 257):
        ids = spelled(word, cnn["max_characters_per_token"])
        x = reference.convolve(tensors["char_embed"], ids, kernels, cnn["activation"])
        for i in range(cnn.get("n_highway", 0)):
            carry, transform = (
                x @ tensors[f"CNN_high_{i}/W_{part}"] + tensors[f"CNN_high_{i}/b_{part}"]
                for part in ("carry", "transform")
            )
            x = reference.highway(x, carry, transform)
        if "CNN_proj/W_proj" in tensors:
            x = x @ tensors["CNN_proj/W_proj"] + tensors["CNN_proj/b_proj"]
        rows.append(x)
    return np.stack(rows)


def bilm_tf_cells(options, tensors, d):
    """One direction's layers, see reference.read."""
    cells, p = [], options["lstm"]["projection_dim"]
    for i in range(options["lstm"]["n_layers"]):
        cell = f"RNN_{d}/RNN/MultiRNNCell/Cell{i}/LSTMCell"
        blocks = np.split(np.concatenate([tensors[f"{cell}/W_0"], tensors[f"{cell}/B"][None]]), 4, axis=1)
        blocks[2][-1] += 1.0
        gates = np.concatenate([blocks[k] for k in (0, 2, 1, 3)], axis=1).T
        projection = tensors.get(f"{cell}/W_P_0")
        projection = None if projection is None else projection.T
        cells.append((gates[:, :p], gates[:, p : 2 * p], gates[:, 2 * p], projection))
    return cells


def bilm_tf_layers(options, tensors, sentence, *, embedded=None):
    """Return bilm-tf's layers for a sentence: (L, n, 2P). embedded: with boundaries; None: by a char-CNN."""
    tensors = {name: np.asarray(t, dtype=np.float64) for name, t in tensors.items()}
    x = bilm_tf_embeddings(options, tensors, sentence) if embedded is None else embedded
    lstm = options["lstm"]
    return reference.stack(
        x,
        *(bilm_tf_cells(options, tensors, d) for d in range(2)),
        use_skip_connections=lstm["use_skip_connections"],
        cell_clip=lstm["cell_clip"],
        proj_clip=lstm["proj_clip"],
    )


# ELMoForManyLangs

ARCHITECTURE = {
    "encoder": {
        "name": "elmo",
        "projection_dim": 6,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 10,
        "n_layers": 2,
    },
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 4], [2, 3], [3, 2]],
        "n_highway": 2,
        "word_dim": 5,
        "char_dim": 4,
        "max_characters_per_token": 50,
    },
    "classifier": {"name": "sampled_softmax", "n_samples": 8192},
    "dropout": 0.1,
}

CHARACTERS = sorted(set("".join(WORDS)) | set("abcxyzТю一二"))


def architecture(encoder=None, **token_embedder):
    """ARCHITECTURE with changes."""
    return {
        **ARCHITECTURE,
        "encoder": {**ARCHITECTURE["encoder"], **(encoder or {})},
        "token_embedder": {**ARCHITECTURE["token_embedder"], **token_embedder},
    }


def lexicon(marks, forms):
    """A shuffled .dic: form -> row."""
    order = np.random.default_rng(1).permutation(len(marks) + len(forms))
    return {form: int(row) for form, row in zip([*marks, *forms], order, strict=True)}


def many_langs_tensors(architecture, n_words, n_characters, *, seed=0, scale=0.5):
    """Random tensors of token_embedder.pkl and encoder.pkl."""
    rng = np.random.default_rng(seed)
    encoder, embedder = architecture["encoder"], architecture["token_embedder"]
    p, d, n_layers = encoder["projection_dim"], encoder["dim"], encoder["n_layers"]
    width, c = max(0, embedder["word_dim"]), embedder["char_dim"]
    lower, upper = {}, {}
    if embedder["word_dim"] > 0:
        lower["word_emb_layer.embedding.weight"] = (n_words, width)
    if c > 0:
        lower["char_emb_layer.embedding.weight"] = (n_characters, c)
        f = sum(n for _, n in embedder["filters"])
        for i, (w, n) in enumerate(embedder["filters"]):
            lower |= {f"convolutions.{i}.weight": (n, c, w), f"convolutions.{i}.bias": (n,)}
        for i in range(embedder["n_highway"]):
            lower |= {f"highways._layers.{i}.weight": (2 * f, f), f"highways._layers.{i}.bias": (2 * f,)}
        width += f
    lower |= {"projection.weight": (p, width), "projection.bias": (p,)}
    if encoder["name"] == "elmo":
        for i in range(n_layers):
            for side in ("forward", "backward"):
                upper |= {
                    f"{side}_layer_{i}.input_linearity.weight": (4 * d, p),
                    f"{side}_layer_{i}.state_linearity.weight": (4 * d, p),
                    f"{side}_layer_{i}.state_linearity.bias": (4 * d,),
                    f"{side}_layer_{i}.state_projection.weight": (p, d),
                }
    else:
        for i in range(n_layers):
            for end in (f"_l{i}", f"_l{i}_reverse"):
                upper |= {f"encoder.weight_ih{end}": (4 * d, 2 * d if i else p)}
                upper |= {f"encoder.weight_hh{end}": (4 * d, d)}
                upper |= {f"encoder.bias_{x}{end}": (4 * d,) for x in ("ih", "hh")}
        upper |= {"projection.weight": (p, d), "projection.bias": (p,)}
    return tuple(
        {name: torch.tensor(rng.normal(0, scale, shape), dtype=torch.float32) for name, shape in part.items()}
        for part in (lower, upper)
    )


def write_many_langs(folder, architecture, *, seed=0, scale=0.5, words=WORDS, config_path="sample.json"):
    """Write a model folder of ELMoForManyLangs; returns its tensors and lexicons."""
    folder.mkdir(parents=True, exist_ok=True)
    index = lexicon(["<oov>", "<bos>", "<eos>", "<pad>"], words)
    spelling = lexicon(["<bos>", "<eos>", "<oov>", "<bow>", "<eow>", "<pad>", "\u3000"], CHARACTERS)
    lower, upper = many_langs_tensors(architecture, len(index), len(spelling), seed=seed, scale=scale)
    embedder = architecture["token_embedder"]
    for name, dic, width in (("word", index, embedder["word_dim"]), ("char", spelling, embedder["char_dim"])):
        if width > 0:
            lines = "".join(f"{form}\t{row}\n" for form, row in dic.items())
            (folder / f"{name}.dic").write_text(lines, encoding="utf8")
    (folder / "config.json").write_text(json.dumps({"config_path": f"/somewhere/{config_path}", "epoch": 10}))
    (folder / "sample.json").write_text(json.dumps(architecture))
    torch.save(lower, folder / "token_embedder.pkl")
    torch.save(upper, folder / "encoder.pkl")
    return lower, upper, index, spelling


def many_langs_layers(architecture, lower, upper, index, spelling, sentence):
    """Return the layers of the encoder "elmo" for a sentence: (L, n, 2P)."""
    lower, upper = ({name: t.double().numpy() for name, t in part.items()} for part in (lower, upper))
    encoder, embedder = architecture["encoder"], architecture["token_embedder"]
    rows = []
    for word in ("<bos>", *(word[:48] for word in sentence), "<eos>"):
        parts = []
        if embedder["word_dim"] > 0:
            parts.append(lower["word_emb_layer.embedding.weight"][index.get(word, index["<oov>"])])
        if embedder["char_dim"] > 0:
            inner = [word] if word in ("<bos>", "<eos>") else word
            ids = [spelling.get(c, spelling["<oov>"]) for c in ("<eow>", *inner, "<bow>")]
            ids += [spelling["<pad>"]] * (50 - len(ids))
            kernels = [
                (lower[f"convolutions.{i}.weight"].transpose(2, 1, 0), lower[f"convolutions.{i}.bias"])
                for i in range(len(embedder["filters"]))
            ]
            x = reference.convolve(
                lower["char_emb_layer.embedding.weight"], ids, kernels, embedder["activation"]
            )
            for i in range(embedder["n_highway"]):
                both = lower[f"highways._layers.{i}.weight"] @ x + lower[f"highways._layers.{i}.bias"]
                transform, carry = np.split(both, 2)
                x = reference.highway(x, -carry, transform)  # their gate lets the input through
            parts.append(x)
        rows.append(lower["projection.weight"] @ np.concatenate(parts) + lower["projection.bias"])
    sides = [
        [
            (
                upper[f"{side}_layer_{i}.input_linearity.weight"],
                upper[f"{side}_layer_{i}.state_linearity.weight"],
                upper[f"{side}_layer_{i}.state_linearity.bias"],
                upper[f"{side}_layer_{i}.state_projection.weight"],
            )
            for i in range(encoder["n_layers"])
        ]
        for side in ("forward", "backward")
    ]
    clips = {"cell_clip": encoder["cell_clip"], "proj_clip": encoder["proj_clip"]}
    return reference.stack(np.stack(rows), *sides, use_skip_connections=True, **clips)
