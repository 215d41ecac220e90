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
from typing import Any

import spacy
import torch
from spacy.language import Language
from thinc.api import Config
from timing import medians

TAGS = ("n", "v", "a", "w", "d")

CONFIG = Path(__file__).parents[1] / "configs" / "tagger.cfg"


def with_elmo(*, at_the_output: bool) -> dict[str, Any]:
    """The tagger of configs/tagger.cfg, or the same with ELMo at its input alone."""
    model = Config().from_disk(CONFIG)["components"]["tagger"]["model"]
    if not at_the_output:
        model["tok2vec"] = model["tok2vec"]["tok2vec"]
    return {"model": model}


def pipeline(*names: str, tagger: dict[str, Any] | None = None) -> Language:
    """A Chinese pipeline with random weights where there are weights to learn. tagger: its settings."""
    nlp = spacy.blank("zh")
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
        "elmo + tagger, at its input": pipeline("elmo", "tagger", tagger=with_elmo(at_the_output=False)),
        "and at its output": pipeline("elmo", "tagger", tagger=with_elmo(at_the_output=True)),
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


if __name__ == "__main__":
    main()
