"""Check a task in minutes before a long training: train on a sample until it overfits, and report the peak.

A long training is worth its time if the same configuration, with strong dropout and a high learning rate on a
small sample, fits that sample quickly and reaches the expected score on the development data on the way. A
sample that is not fitted points to broken inputs (vectors of other tokens, gamma 0); a low peak points to
inputs without information for the task.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, write_json
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import load_config, registry, resolve_dot_names
from thinc.api import Config, fix_random_seed

FITTED = 0.98  # score on the sample itself from which on it counts as fitted
DROPOUT = 0.6
LEARNING_RATE = 0.004
SENTENCES = 300
SECONDS = 150.0
EVERY = 10  # steps between evaluations
FALLING = 4  # evaluations below the peak, after which the probe ends


class ProbeError(Exception):
    """The probe cannot run; the message says why."""


@dataclass
class Probe:
    """Measurements. Scores are the weighted sum of [training.score_weights], between 0 and 1."""

    expected: float
    rows: list[dict[str, float]] = field(default_factory=list)
    """step, seconds, loss per token, score on the development data, score on the sample"""

    @property
    def peak(self) -> dict[str, float]:
        """Return the row with the best score on the development data, the first of equal ones."""
        return max(self.rows, key=lambda row: row["dev"])

    @property
    def fitted(self) -> bool:
        """Return whether the sample was learned by heart."""
        return any(row["sample"] >= FITTED for row in self.rows)

    @property
    def reached(self) -> bool:
        """Return whether the peak is as high as expected."""
        return self.peak["dev"] >= self.expected

    def has_ended(self) -> bool:
        """Return whether more steps would tell nothing: the sample is fitted and the peak has passed."""
        since = len(self.rows) - 1 - self.rows.index(self.peak)
        return self.fitted and since >= FALLING

    def verdict(self) -> str:
        """Return one sentence."""
        peak = self.peak
        where = f"The peak is {100 * peak['dev']:.2f} at step {peak['step']:.0f} ({peak['seconds']:.0f} s)"
        if not self.fitted:
            best = max(row["sample"] for row in self.rows)
            where += f"; the sample is not fitted, its best score is {100 * best:.2f}"
        where += f"; {100 * self.expected:.2f} was expected"
        if self.reached:
            return f"{where}: the long training can start."
        if self.fitted:
            return (
                f"{where}. The sample is fitted, so the component learns, but its inputs say too little "
                "about other sentences: check the vectors and the features before a long training."
            )
        return (
            f"{where}. The component hardly learns: check the vectors, gamma, the dropout and the learning "
            "rate before a long training, or probe for a longer time."
        )


def make_config(path: Path, train: Path, dev: Path, dropout: float, learning_rate: float) -> Config:
    """Return a training config with the settings of the probe."""
    for data in (path, train, dev):
        if not data.exists():
            raise ProbeError(f"{data} does not exist: correct the path, or run the command that makes it.")
    overrides = {"paths.train": str(train), "paths.dev": str(dev)}
    return set_up(load_config(path, overrides=overrides, interpolate=False), dropout, learning_rate)


def set_up(config: Config, dropout: float = DROPOUT, learning_rate: float = LEARNING_RATE) -> Config:
    """Change a training config to the settings of the probe, and return it."""
    if "optimizer" not in config.get("training", {}):
        raise ProbeError("The config has no [training.optimizer]: give one for `spacy train`.")
    config["training"]["dropout"] = dropout
    # The score at a step is that of the step, so weights are not averaged.
    config["training"]["optimizer"] |= {"learn_rate": learning_rate, "use_averages": False}
    return config


def take(
    nlp: Language, corpus: Callable[[Language], Iterable[Example]], size: int, seed: int
) -> list[Example]:
    """Return `size` examples of a corpus, drawn from its first 20 * size."""
    pool = list(islice(corpus(nlp), 20 * size))
    if not pool:
        raise ProbeError("The data hold no examples: check [corpora].")
    return random.Random(seed).sample(pool, min(size, len(pool)))


def copies(nlp: Language, examples: Iterable[Example]) -> list[Example]:
    """Return the examples with fresh predicted Docs, because an update annotates them."""
    return [Example(_blank_copy(nlp, each.predicted), each.reference) for each in examples]


def _blank_copy(nlp: Language, doc: Doc) -> Doc:
    return Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])


def score(nlp: Language, examples: Iterable[Example], weights: dict[str, float | None]) -> float:
    """Return the weighted score of a pipeline."""
    found = nlp.evaluate(examples)  # it copies them
    return sum((found.get(name) or 0.0) * weight for name, weight in weights.items() if weight)


def minibatches(
    examples: list[Example], batcher: Callable[[Iterable[Example]], Iterable[list[Example]]], seed: int
) -> Iterator[list[Example]]:
    """Yield batches without end, each pass in another order."""
    rng = random.Random(seed)
    while True:
        rng.shuffle(examples)
        yield from batcher(examples)


def training_settings(nlp: Language) -> dict[str, Any]:
    """Return [training] of a pipeline's config, with its objects."""
    return registry.resolve(nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)


def run_probe(
    config: Config,
    *,
    sentences: int,
    expected: float,
    seconds: float,
    every: int,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Probe]:
    """Train, and yield the growing measurement after each evaluation. clock: what measures the seconds."""
    fix_random_seed(seed)
    nlp = init_nlp(config)
    settings = training_settings(nlp)
    train_corpus, dev_corpus = resolve_dot_names(
        nlp.config.interpolate(), [settings["train_corpus"], settings["dev_corpus"]]
    )
    sample, dev = take(nlp, train_corpus, sentences, seed), take(nlp, dev_corpus, sentences, seed)
    weights, optimizer = settings["score_weights"], settings["optimizer"]
    probe, start = Probe(expected), clock()
    loss = tokens = 0.0
    for step, batch in enumerate(minibatches(list(sample), settings["batcher"], seed), 1):
        losses = nlp.update(
            copies(nlp, batch),
            drop=settings["dropout"],
            sgd=optimizer,
            annotates=settings["annotating_components"],
            exclude=settings["frozen_components"],
        )
        loss += sum(losses.values())
        tokens += sum(len(each.predicted) for each in batch)
        if step % every:
            continue
        spent = clock() - start
        row = {"step": step, "seconds": spent, "loss": loss / max(1.0, tokens)}
        probe.rows.append(
            {**row, "dev": score(nlp, dev, weights), "sample": score(nlp, sample[:100], weights)}
        )
        loss = tokens = 0.0
        yield probe
        if probe.has_ended() or clock() - start > seconds:
            return


def main(
    config: Path = typer.Argument(..., help="A config for `spacy train`."),
    train: Path = typer.Argument(..., help="Training data, .spacy."),
    dev: Path = typer.Argument(..., help="Development data, .spacy."),
    output: Path = typer.Argument(..., help="File for what was measured, .json."),
    expected: float = typer.Option(..., min=0.0, max=1.0, help="Score that the peak should reach, 0 to 1."),
    sentences: int = typer.Option(SENTENCES, min=1, help="Examples of the sample, and of the data to score."),
    dropout: float = typer.Option(DROPOUT, min=0.0, max=0.95, help="Dropout of the task's layers; strong."),
    learning_rate: float = typer.Option(LEARNING_RATE, min=0.0, help="High, to fit the sample soon."),
    seconds: float = typer.Option(SECONDS, min=1.0, help="End after this time at the latest."),
    every: int = typer.Option(EVERY, min=1, help="Steps between evaluations."),
    seed: int = typer.Option(0, help="Seed of the sample and the weights."),
) -> None:
    """Train on a sample until it overfits. Exit status 1 if the peak is lower than expected."""
    probe = None
    try:
        probed = make_config(config, train, dev, dropout, learning_rate)
        typer.echo("  step   time   loss/token   dev    sample")
        for probe in run_probe(
            probed, sentences=sentences, expected=expected, seconds=seconds, every=every, seed=seed
        ):
            row = probe.rows[-1]
            typer.echo(
                f"{row['step']:6.0f} {row['seconds']:5.0f}s {row['loss']:12.3f} "
                f"{100 * row['dev']:6.2f} {100 * row['sample']:9.2f}"
            )
    except (ProbeError, OSError, ValueError) as error:
        fail(str(error))
    assert probe is not None  # the first evaluation comes before the end
    typer.echo(probe.verdict())
    measured = {**asdict(probe), "peak": probe.peak, "fitted": probe.fitted, "reached": probe.reached}
    write_json(output, {**measured, "config": str(config), "sentences": sentences, "seed": seed})
    if not probe.reached:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
