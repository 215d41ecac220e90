"""Measure the words per second of `nlp.pipe`: elmo and taggers, in turns with spaCy's own CNN tagger.

    python benchmarks/bench_pipeline.py TEXT [--lines 500] [--rounds 5] [--segmenter char] [--cpu-time]

TEXT: UTF-8, one paragraph per line. Tokens are characters, spaCy's default for `zh`, or words. Taggers
have random weights: speed does not depend on them. Three of them read ELMo: one with a window encoder and
ELMo at its input (ConcatEmbed), the same with ELMo at both ends (ConcatOutput), and that of
configs/tagger.cfg. The script also prints the time per token of each part, with ELMo at both ends.
"""

import argparse
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import spacy
import torch
from _timing import medians
from spacy.language import Language
from thinc.api import Config

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.pipeline import component
from spacy_elmo.pipeline.component import Elmo
from spacy_elmo.pipeline.layers import bilm as bilm_module
from spacy_elmo.pipeline.layers.listener import NAME as LISTENER

TAGS = ("n", "v", "a", "w", "d")

CONFIG = Path(__file__).parents[1] / "configs" / "tagger.cfg"

WINDOW_TAGGER = """
[model]
@architectures = "spacy.Tagger.v2"

[model.tok2vec]
@architectures = "spacy-elmo.ConcatOutput.v1"
width = 256

[model.tok2vec.elmo]
@architectures = "spacy-elmo.ElmoListener.v1"
layer_norm = true
use_static_vectors = true

[model.tok2vec.tok2vec]
@architectures = "spacy.Tok2Vec.v2"

[model.tok2vec.tok2vec.embed]
@architectures = "spacy-elmo.ConcatEmbed.v1"
width = 96

[model.tok2vec.tok2vec.embed.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 96
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [5000, 2000, 2000, 500]
include_static_vectors = false

[model.tok2vec.tok2vec.embed.elmo]
@architectures = "spacy-elmo.ElmoListener.v1"
layer_norm = true

[model.tok2vec.tok2vec.encode]
@architectures = "spacy-elmo.MaxoutWindowEncoder.v1"
width = 96
depth = 4
window_size = 1
maxout_pieces = 3
"""


def window_tagger(*, at_the_output: bool) -> dict[str, Any]:
    """Return the settings of a tagger with a window encoder, and ELMo at its input or at both ends."""
    model = Config().from_str(WINDOW_TAGGER)["model"]
    if not at_the_output:
        model["tok2vec"] = model["tok2vec"]["tok2vec"]
    return {"model": model}


def pipeline(
    *names: str,
    segmenter: str = "char",
    tagger: dict[str, Any] | None = None,
    elmo: dict[str, Any] | None = None,
) -> Language:
    """Build a Chinese pipeline with random weights. tagger, elmo: settings."""
    nlp = spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": segmenter}}})
    settings = {"tagger": tagger or {}, "crf_tagger": tagger or {}, "elmo": elmo or {}}
    for name in names:
        pipe = nlp.add_pipe(name, config=settings[name])
        if name != "elmo":
            for tag in TAGS:
                pipe.add_label(tag)
    nlp.initialize()
    return nlp


def read(nlp: Language, texts: list[str]) -> None:
    """Process all texts once."""
    for _ in nlp.pipe(texts, batch_size=256):
        pass


def where(nlp: Language, texts: list[str], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of what a pipeline with elmo and a listening tagger does, taken while it does it."""
    spent: defaultdict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += clock() - start

        return call

    tagger = nlp.get_pipe("tagger").model
    listeners = [node for node in tagger.walk() if node.name == LISTENER]
    watched: list[tuple[Any, str, str]] = [
        (BiLM, "encode", "biLM"),
        (bilm_module, "align_doc", "alignment"),
        (bilm_module, "token_layers", "layers on the Doc"),
        (Elmo, "set_annotations", "layers on the Doc"),
        (component, "compute_static_vectors", "static vectors"),
        *((listener, "_func", "mixes") for listener in listeners),
        (tagger, "_func", "tagger, mixes included"),
    ]
    found: list[dict[str, float]] = []
    with ExitStack() as stack:
        for owner, attribute, name in watched:
            function = timed(name, getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, function))
        for _ in range(rounds + 1):
            spent.clear()
            read(nlp, texts)
            found.append(dict(spent))
    median = {name: statistics.median(each[name] for each in found[1:]) for name in found[0]}
    median["layers on the Doc"] -= median["static vectors"]
    median["one mix"] = median.pop("mixes") / len(listeners)
    return median


def main() -> None:
    """Run the benchmark and print its tables."""
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
    config = Config().from_disk(CONFIG)["components"]["tagger"]
    pipelines = {
        "tokenizer": made(),
        "tagger": made("tagger"),
        "elmo": made("elmo"),
        "elmo + tagger, at its input": made("elmo", "tagger", tagger=window_tagger(at_the_output=False)),
        "and at its output": made("elmo", "tagger", tagger=window_tagger(at_the_output=True)),
        "elmo + configs/tagger.cfg": made("elmo", "crf_tagger", tagger={"model": config["model"]}),
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
    parts = where(pipelines["and at its output"], texts, args.rounds, clock)
    for name, median in parts.items():
        share = 100 * median / parts["biLM"]
        print(f"{name:<28} {1e6 * median / words:>12.2f} us/token {share:7.1f} % of the biLM")


if __name__ == "__main__":
    main()
