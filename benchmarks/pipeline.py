"""Words per second of `nlp.pipe`: elmo + tagger against spaCy's own CNN tagger, in turns, in one run.

    python benchmarks/pipeline.py TEXT [--lines 500] [--rounds 5] [--segmenter char] [--cpu-time]

TEXT: UTF-8, one paragraph a line. Tokens are characters, as spaCy's `zh` cuts by default, or words. Taggers
have random weights: speed does not depend on them. Says too where a token's time goes with ELMo at both ends.
"""

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config
from timing import medians

from spacy_elmo.pipeline.align import token_layers
from spacy_elmo.pipeline.bilm_layer import align, shim_of
from spacy_elmo.pipeline.listener import NAME as LISTENER
from spacy_elmo.pipeline.portions import portions

TAGS = ("n", "v", "a", "w", "d")

CONFIG = Path(__file__).parents[1] / "configs" / "tagger.cfg"


def with_elmo(*, at_the_output: bool) -> dict[str, Any]:
    """The tagger of configs/tagger.cfg, or the same with ELMo at its input alone."""
    model = Config().from_disk(CONFIG)["components"]["tagger"]["model"]
    if not at_the_output:
        model["tok2vec"] = model["tok2vec"]["tok2vec"]
    return {"model": model}


def pipeline(*names: str, segmenter: str = "char", tagger: dict[str, Any] | None = None) -> Language:
    """A Chinese pipeline with random weights where there are weights to learn. tagger: its settings."""
    nlp = spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": segmenter}}})
    for name in names:
        pipe = nlp.add_pipe(name, config=tagger or {} if name == "tagger" else {})
        if name == "tagger":
            for tag in TAGS:
                pipe.add_label(tag)
    nlp.initialize()
    return nlp


def read(nlp: Language, texts: list[str]) -> None:
    """One pass."""
    for _ in nlp.pipe(texts, batch_size=256):
        pass


def where(nlp: Language, texts: list[str]) -> dict[str, Callable[[], object]]:
    """The parts of what a pipeline with elmo and a listening tagger does, each with the others' work done."""
    elmo, tagger = nlp.get_pipe("elmo"), nlp.get_pipe("tagger").model
    bilm = shim_of(elmo.model).bilm
    docs = list(nlp.pipe(texts))
    found = [align(doc, bilm.config) for doc in docs]
    layers = [doc._.elmo.layers for doc in docs]
    listeners = [node for node in tagger.walk() if node.name == LISTENER]

    def encode() -> list[np.ndarray]:
        return bilm.encode([s for each in found for s in each.sentences], precision="auto")

    def tokenize() -> list[Doc]:
        return [nlp.make_doc(text) for text in texts]

    states = encode()

    def store() -> None:
        rest = iter(states)
        each = [[next(rest) for _ in a.sentences] for a in found]
        kept = [  # where units are tokens, the biLM has written straight into what the Doc gets
            here if a.one_each else token_layers(a, own, bilm.n_layers, bilm.width)
            for a, own, here in zip(found, each, layers, strict=True)
        ]
        for doc in docs:
            doc.tensor = np.zeros(0, dtype="f")
        elmo.set_annotations(docs, kept)

    def mix() -> None:
        for node in listeners:
            for some in portions(docs):
                node.predict(some)  # and let it go, as a tagger does

    for doc, kept in zip(docs, layers, strict=True):
        doc._.elmo = kept
    return {
        "biLM": encode,
        "tokenizer": tokenize,
        "tokenizer and alignment": lambda: [align(doc, bilm.config) for doc in tokenize()],
        "layers on the Doc": store,
        "two mixes": mix,
        "tagger, mixes included": lambda: tagger.predict(docs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of this process only, for a busy machine and one thread"
    )
    parser.add_argument("--segmenter", choices=["char", "jieba"], default="char")
    args = parser.parse_args()
    made = partial(pipeline, segmenter=args.segmenter)
    clock = time.process_time if args.cpu_time else time.perf_counter
    with args.text.open(encoding="utf8") as file:
        texts = [line.strip() for line in islice((line for line in file if line.strip()), args.lines)]
    pipelines = {
        "tokenizer": made(),
        "tagger": made("tagger"),
        "elmo": made("elmo"),
        "elmo + tagger, at its input": made("elmo", "tagger", tagger=with_elmo(at_the_output=False)),
        "and at its output": made("elmo", "tagger", tagger=with_elmo(at_the_output=True)),
    }
    words = sum(len(doc) for doc in pipelines["tokenizer"].pipe(texts))
    runs = {name: partial(read, nlp, texts) for name, nlp in pipelines.items()}
    found = medians(runs, args.rounds, clock)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        f"{len(texts)} texts, {words:,} tokens, median of {args.rounds} rounds after one that is not counted"
    )
    for name, median in found.items():
        ratio = found["tagger"] / median
        print(f"{name:<28} {words / median:>12,.0f} tokens/s {ratio:8.2f} of the CNN tagger")
    parts = medians(where(pipelines["and at its output"], texts), args.rounds, clock)
    # Of new Docs, as a pipeline has them.
    parts["alignment"] = parts.pop("tokenizer and alignment") - parts.pop("tokenizer")
    for name, median in parts.items():
        share = 100 * median / parts["biLM"]
        print(f"{name:<28} {1e6 * median / words:>12.2f} us/token {share:7.1f} % of the biLM")


if __name__ == "__main__":
    main()
