"""Study what fine-tuning the biLM gains and costs, compared with a frozen biLM of the same component."""

import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spacy
import study
import torch
import typer
from io_utils import fail, read_json
from probe import minibatches, training_settings
from spacy.scorer import Scorer
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from study import SCORES, Cell, Data, StudyError, numbers, predict, run_all, sample, train
from study_knobs import PLAIN
from thinc.api import Config, fix_random_seed

from spacy_elmo.pretraining.memory import peak_bytes

STUDY, CHOICE = "finetune", "finetune_dev"
FROZEN, TUNED = "frozen", "fine-tuned"
FACTOR = "learn_rate_factor"
WARM_UP = 64  # sentences that are predicted before the measurement, because the first ones load weights


def make_config(cell: Cell, data: Data) -> Config:
    """Return the config of a cell: spaCy's embeddings and the mix of a frozen or of a private, tuned biLM."""
    settings = {name: value for name, value in cell.settings.items() if name != FACTOR}
    config = study.make_config(replace(cell, settings=settings), data)
    config["components"]["elmo"]["cache_dir"] = None  # the time of the vectors belongs to the training
    if cell.system == FROZEN:
        return config
    parts = config["components"][cell.task]["model"]["tok2vec"]["embed"]["*"]
    mix = {name: value for name, value in parts["elmo"].items() if name not in ("@architectures", "upstream")}
    bilm = {"@architectures": "spacy-elmo.BiLM.v1", "path": cell.model, "frozen": False}
    bilm[FACTOR] = cell.settings[FACTOR]
    parts["elmo"] = {"@architectures": "spacy-elmo.ElmoTok2Vec.v1", **mix, "bilm": bilm}
    del config["components"]["elmo"]
    config["nlp"]["pipeline"] = [cell.task]
    return config


def run_cell(cell: Cell, data: Data) -> dict[str, Any]:
    """Train, save, load and score a cell; return what its file holds.

    The times of the processor are those of this process, because other programs may use the cores as well.
    """
    fix_random_seed(cell.seed)
    nlp = init_nlp(make_config(cell, data))
    training = training_settings(nlp)
    examples = sample(nlp, data.train, cell.sentences)
    batches = islice(minibatches(examples, training["batcher"], cell.seed), data.steps)
    spent = train(nlp, batches, training)
    memory = peak_bytes(torch.device("cpu"))
    with TemporaryDirectory() as folder:
        with nlp.use_params(training["optimizer"].averages):
            nlp.to_disk(folder)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        saved = spacy.load(folder)
    test = sample(saved, data.test, data.test_sentences)
    predict(saved, test[:WARM_UP])
    start = time.process_time()
    scored = predict(saved, test)
    seconds = time.process_time() - start
    return {
        **cell.describe(),
        **spent,
        **data.describe(),
        "score": Scorer(nlp=saved).score(scored)[SCORES[cell.task]],
        "test_sentences": len(test),
        "predicted_words_per_second": sum(len(each.reference) for each in scored) / seconds,
        "memory_mb": memory / 1e6,
        "size_mb": size / 1e6,
    }


def run_apart(cell: Cell, data: Data) -> dict[str, Any]:
    """Run a cell in a process of its own that reads only its sentences, so that all memory is the cell's."""
    sentences = [each.reference for each in sample(spacy.blank("zh"), data.train, cell.sentences)]
    sample(spacy.blank("zh"), data.test, data.test_sentences)  # too few are an error before the training
    try:
        with TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            DocBin(docs=sentences).to_disk(Path(folder) / "train.spacy")
            small = replace(data, train=Path(folder) / "train.spacy")
            return pool.submit(run_cell, cell, small).result()
    except BrokenProcessPool:
        raise StudyError(f"The process of {cell.name} was killed: free memory, start again.") from None


def choose(task: str, sentences: int, factors: list[float], data: Data, metrics: Path) -> float:
    """Return the factor of the learning rate that is best on all test sentences of `data`, with seed 0.

    sentences: of training. data: its test sentences are those of the development data.
    """
    cells = {
        factor: Cell(CHOICE, f"{TUNED}, factor {factor}", task, sentences, 0, {**PLAIN, FACTOR: factor})
        for factor in factors
    }
    if len(cells) > 1:
        run_all(cells.values(), data, metrics, run_apart)
        scores = {f: read_json(metrics / CHOICE / f"{c.name}.json")["score"] for f, c in cells.items()}
        return max(scores, key=lambda factor: scores[factor])
    return factors[0]


def plan(task: str, sizes: list[int], seeds: list[int], factor: float) -> list[Cell]:
    """Return the cells, small sizes first."""
    return [
        Cell(STUDY, system, task, size, seed, settings)
        for size in sizes
        for seed in seeds
        for system, settings in ((FROZEN, PLAIN), (TUNED, {**PLAIN, FACTOR: factor}))
    ]


def rates(text: str) -> list[float]:
    """Read a list of factors such as "0.03 0.1"."""
    try:
        found = [float(each) for each in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found or min(found) <= 0:
        raise StudyError(f"'{text}' is not a list of factors above 0: give one such as '0.03 0.1'.")
    return list(dict.fromkeys(found))


def main(
    train: Path = typer.Argument(..., help="Training sentences, .spacy."),
    dev: Path = typer.Argument(..., help="Development sentences, on which the factor is chosen, .spacy."),
    test: Path = typer.Argument(..., help="Test sentences, .spacy."),
    metrics: Path = typer.Argument(..., help="Folder for the results of all studies."),
    task: str = typer.Option("ner", help="tagger or ner."),
    sizes: str = typer.Option("500 5000", help="Training sentences, 0: all."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    steps: int = typer.Option(500, min=1, help="Steps of each training."),
    factors: str = typer.Option("0.03 0.1 0.3", help="Factors of the biLM's learning rate to choose from."),
    choice_sentences: int = typer.Option(500, min=1, help="Training sentences with which it is chosen."),
    test_sentences: int = typer.Option(0, min=0, help="Test sentences, 0: all."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
) -> None:
    """Choose the factor on the development data, then run the cells that are missing."""
    try:
        data = Data(train, test, steps, test_sentences, Path(), configs)
        on_dev = replace(data, test=dev, test_sentences=0)
        chosen = choose(task, choice_sentences, rates(factors), on_dev, metrics)
        run_all(plan(task, numbers(sizes), numbers(seeds), chosen), data, metrics, run_apart)
    except (StudyError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)
