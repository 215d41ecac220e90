"""Measure the deviation of each backend and precision from float64, with trained weights and real text.

    python benchmarks/bench_precision.py TEXT [--model FOLDER]
    python benchmarks/bench_precision.py TEXT --pipelines FOLDER ... --gold DOCS.spacy [--code FILE.py]

TEXT: UTF-8, one paragraph per line. Prints the smallest cosine of any unit by layer, and the largest
difference. --pipelines: trained pipelines with elmo, which are scored on DOCS in each precision.
"""

import argparse
import copy
from pathlib import Path

import numpy as np
import spacy
import torch
from _timing import show
from spacy.training.corpus import Corpus

from spacy_elmo.inference import loading
from spacy_elmo.inference.backends import TORCH, available_backends
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.encode import encode
from spacy_elmo.modeling.collate import collate
from spacy_elmo.text import sentence_spans, split_characters, split_evenly

SCORES = ("tag_acc", "ents_f")
PRECISIONS = ["f32", "bf16", "int16"]


def exact(bilm: BiLM, sentences: list[list[str]]) -> list[np.ndarray]:
    """Return the layers in float64."""
    network = copy.deepcopy(bilm).double()
    with torch.inference_mode():
        return [network(collate(network, [s]))[:, 0, 1 : 1 + len(s)].numpy() for s in sentences]


def vectors(bilm: BiLM, text: Path, lines: int) -> None:
    """Compare the vectors of all backends and precisions, and print a table."""
    paragraphs = [line for line in text.read_text(encoding="utf8").split("\n") if line.strip()][:lines]
    read = [split_characters(line[a:b])[0] for line in paragraphs for a, b in sentence_spans(line)]
    limit = bilm.config.max_sentence_length
    sentences = [units[a:b] for units in read for a, b in split_evenly(len(units), limit)]
    expected = np.concatenate(exact(bilm, sentences), axis=1)
    print(f"{expected.shape[1]:,} units")
    rows: dict[str, list[str]] = {}
    for backend in available_backends():
        for precision in PRECISIONS[: 2 if backend == TORCH else 3]:
            found = np.concatenate(encode(bilm, sentences, precision=precision, backend=backend), axis=1)
            a, b = found.astype(np.float64), expected
            cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
            cells = [f"{smallest:.5f}" for smallest in cosine.min(axis=1)]
            rows[f"{backend}, {precision}"] = [*cells, f"{np.abs(a - b).max():.1e}"]
    show("", [*(f"cosine, layer {i}" for i in range(bilm.n_layers)), "largest difference"], rows)


def scores(pipelines: list[Path], gold: Path) -> None:
    """Score trained pipelines in each precision, and print a table."""
    rows: dict[str, list[str]] = {}
    for path in pipelines:
        nlp = spacy.load(path)
        elmo = nlp.get_pipe("elmo")
        cells = rows[str(path)] = []
        for precision in PRECISIONS:
            elmo.model.shims[0].precision = precision
            for _, pipe in nlp.pipeline:
                elmo.find_listeners(pipe)  # which predict in the same precision
            found = nlp.evaluate(list(Corpus(gold, gold_preproc=True)(nlp)))
            cells.append(next(f"{100 * found[key]:.2f}" for key in SCORES if found.get(key)))
    show("", PRECISIONS, rows)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", type=Path, help="a model of characters; default: the bundled one")
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--pipelines", type=Path, nargs="*", default=[])
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--code", type=Path, help="what the pipelines need, as for spacy train")
    args = parser.parse_args()
    if args.pipelines and args.gold is None:
        parser.error("--pipelines wants --gold, the docs to score them on")
    vectors(loading.load(args.model), args.text, args.lines)
    if args.code:
        spacy.util.import_file("python_code", args.code)
    if args.pipelines:
        scores(args.pipelines, args.gold)


if __name__ == "__main__":
    main()
