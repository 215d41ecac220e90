"""Measure the seconds per epoch of a tagger's training: without ELMo, and with ELMo with and without cache.

    python benchmarks/bench_component_training.py SENTENCES.spacy [--epochs 4] [--limit 500] [--cpu-time]

SENTENCES: tagged Docs, e.g. projects/zh_elmo/corpus/train_500.spacy. The configs are configs/tagger.cfg and
configs/tagger_baseline.cfg, with the same batches in the same order. The first epoch may take the biLM's
forward pass longer; later ones should take as long as without ELMo. The script also checks that the losses
have the same bits with and without cache.
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.batchers import minibatch_by_words
from spacy.training.corpus import Corpus
from spacy.util import fix_random_seed, load_config
from thinc.api import Config

CONFIGS = Path(__file__).parents[1] / "configs"
WAYS = {
    "without ELMo": ("tagger_baseline.cfg", {}),
    "ELMo, cached": ("tagger.cfg", {}),
    "ELMo, cache_mb = 0": ("tagger.cfg", {"components.elmo.cache_mb": 0}),
}


def make(config: str, overrides: dict[str, object], examples: list[Example]) -> Language:
    """Build the pipeline of a config, ready for training."""
    fix_random_seed(0)
    loaded = load_config(CONFIGS / config, overrides=overrides, interpolate=True)
    nlp = spacy.util.load_model_from_config(
        Config({key: loaded[key] for key in ("nlp", "components")}), auto_fill=True
    )
    nlp.initialize(lambda: examples)
    return nlp


def epochs(nlp: Language, examples: list[Example], n: int, clock: Callable[[], float]) -> tuple[list, list]:
    """Return the seconds and the loss of each epoch."""
    fix_random_seed(0)
    optimizer = nlp.create_optimizer()
    times, found = [], []
    for _ in range(n):
        losses: dict[str, float] = {}
        start = clock()
        for batch in minibatch_by_words(examples, size=1000):
            copies = [Example(Doc(nlp.vocab, words=[t.text for t in eg.x]), eg.y) for eg in batch]
            nlp.update(copies, sgd=optimizer, drop=0.4, losses=losses)
        times.append(clock() - start)
        found.append(losses["tagger"])
    return times, found


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, default=500, help="sentences")
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of this process only, for a busy machine"
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    reader = Corpus(args.sentences, gold_preproc=True, limit=args.limit)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    seconds: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    for name, (config, overrides) in WAYS.items():
        examples = list(reader(spacy.blank("zh")))
        nlp = make(config, overrides, examples)
        seconds[name], losses[name] = epochs(nlp, examples, args.epochs, clock)
        if name == "ELMo, cached":
            docs = [eg.x.copy() for eg in examples]
            component = nlp.get_pipe("elmo")
            component.model.shims[0].cache = None
            start = clock()
            component.predict(docs)
            print(f"the biLM alone: {clock() - start:.2f} s for {sum(map(len, docs)):,} words")
    print(
        "| epoch |" + "".join(f" {i} |" for i in range(1, args.epochs + 1)) + "\n|---|" + "---|" * args.epochs
    )
    base = seconds["without ELMo"]
    for name, times in seconds.items():
        cells = (f" {t:.2f} s ({t / b:.2f}x) |" for t, b in zip(times, base, strict=True))
        print(f"| {name} |" + "".join(cells))
    same = losses["ELMo, cached"] == losses["ELMo, cache_mb = 0"]
    print(f"losses with and without cache are {'the same to the last bit' if same else 'not the same'}")


if __name__ == "__main__":
    main()
