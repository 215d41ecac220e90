"""Words per second of `nlp.pipe`: elmo + tagger against spaCy's own CNN tagger, in turns, in one run.

    python benchmarks/pipeline.py TEXT [--lines 500] [--rounds 5] [--cpu-time]

TEXT: UTF-8, one paragraph a line. Tokens are characters, as spaCy's `zh` cuts by default. The taggers have
random weights: speed does not depend on them.
"""

import argparse
import platform
import time
from functools import partial
from itertools import islice
from pathlib import Path

import spacy
import torch
from spacy.language import Language
from timing import medians

TAGS = ("n", "v", "a", "w", "d")

LISTENING = """
[model]
@architectures = "spacy.Tagger.v2"
[model.tok2vec]
@architectures = "spacy.Tok2Vec.v2"
[model.tok2vec.embed]
@architectures = "spacy-elmo.ConcatEmbed.v1"
width = 96
[model.tok2vec.embed.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 96
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [5000, 2000, 2000, 500]
include_static_vectors = false
[model.tok2vec.embed.elmo]
@architectures = "spacy-elmo.ElmoListener.v1"
[model.tok2vec.encode]
@architectures = "spacy.MaxoutWindowEncoder.v2"
width = 96
depth = 4
window_size = 1
maxout_pieces = 3
"""


def pipeline(*names: str) -> Language:
    """A Chinese pipeline with random weights where there are weights to learn."""
    nlp = spacy.blank("zh")
    for name in names:
        listening = name == "tagger" and "elmo" in names
        config = spacy.util.load_config_from_str(LISTENING) if listening else {}
        pipe = nlp.add_pipe(name, config=config)
        if name == "tagger":
            for tag in TAGS:
                pipe.add_label(tag)
    nlp.initialize()
    return nlp


def read(nlp: Language, texts: list[str]) -> None:
    """One pass."""
    for _ in nlp.pipe(texts, batch_size=256):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of this process only, for a busy machine and one thread"
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    with args.text.open(encoding="utf8") as file:
        texts = [line.strip() for line in islice((line for line in file if line.strip()), args.lines)]
    pipelines = {
        "tokenizer": pipeline(),
        "tagger": pipeline("tagger"),
        "elmo": pipeline("elmo"),
        "elmo + tagger": pipeline("elmo", "tagger"),
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
        print(f"{name:<14} {words / median:>12,.0f} tokens/s {ratio:8.2f} of the CNN tagger")


if __name__ == "__main__":
    main()
