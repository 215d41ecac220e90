"""Study whether the probe ranks configurations as full trainings do, two broken ones included."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import probe
import typer
from io_utils import fail, read_json, write_json
from spacy.tokens import Doc
from spacy.util import registry
from study import (
    NAMES,
    WITHOUT,
    Cell,
    Data,
    StudyError,
    check_file,
    check_known,
    complete,
    make_config,
    numbers,
    run_all,
    run_cell,
)
from study_knobs import ALONE, PLAIN
from thinc.api import Config, Model
from thinc.types import Floats2d

STUDY, FULL = "probe", "probe_full"  # folders of the probes and of the full trainings
SHIPPED = "as shipped"
SHUFFLED = f"{SHIPPED}, vectors shuffled"
SYSTEMS: dict[str, dict[str, Any]] = {
    SHIPPED: {},
    WITHOUT: {},
    ALONE: {"settings": PLAIN, "alone": True},
    "layer 0 alone": {"settings": {**PLAIN, "fixed_weights": [1, 0, 0]}},
    "dropout 0.7": {"settings": {**PLAIN, "mix_dropout": 0.7}},
    "gamma fixed at 10": {"settings": {**PLAIN, "fixed_gamma": 10.0}},
    SHUFFLED: {},
    f"{ALONE}, gamma 0": {"settings": {**PLAIN, "fixed_gamma": 0.0}, "alone": True},
}
BROKEN = {SHUFFLED, f"{ALONE}, gamma 0"}


@registry.architectures("zh_elmo.Shuffled.v1")
def build_shuffled(
    layer: Model[list[Doc], list[Floats2d]], seed: int = 0
) -> Model[list[Doc], list[Floats2d]]:
    """Build a layer that gives each token of a batch the vector of another one, as a wrong alignment would.

    layer: List[Doc] -> List[Floats2d (n_tokens, D)]. The order of the rows is drawn again for each batch.
    """
    rng = np.random.default_rng(seed)

    def forward(
        model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
    ) -> tuple[list[Floats2d], Callable[..., Any]]:
        Y, backprop = layer(docs, is_train)
        order = rng.permutation(sum(map(len, docs)))

        def give_back(dY: list[Floats2d]) -> Any:
            return backprop(_reorder(model, dY, np.argsort(order)))

        return _reorder(model, Y, order), give_back

    def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
        layer.initialize(X=X)
        model.set_dim("nO", layer.get_dim("nO"))

    return Model("shuffled", forward, init=init, layers=[layer], dims={"nO": None})


def _reorder(model: Model[Any, Any], arrays: list[Floats2d], order: np.ndarray) -> list[Any]:
    rows = model.ops.xp.concatenate(arrays)[model.ops.asarray(order)]
    return model.ops.unflatten(rows, model.ops.asarray1i([len(each) for each in arrays]))


def configure(cell: Cell, data: Data) -> Config:
    """Return the training config of a cell. The shipped ones are those of `configs/`, complete."""
    if cell.system not in (SHIPPED, WITHOUT, SHUFFLED):
        return make_config(cell, data)
    name = f"{cell.task}_baseline.cfg" if cell.system == WITHOUT else f"{cell.task}.cfg"
    config = Config().from_disk(data.configs / name, interpolate=False)
    if cell.system == SHUFFLED:
        parts = config["components"][cell.task]["model"]["tok2vec"]["embed"]["*"]
        for part in ("elmo", "tagger"):  # all that reads the vectors
            parts[part] = {"@architectures": "zh_elmo.Shuffled.v1", "layer": parts[part]}
    return complete(config, cell, data)


def run_probe(cell: Cell, data: Data, seconds: float) -> dict[str, Any]:
    """Probe a configuration; return what its file holds. The development sentences are `test` of the data."""
    config = probe.set_up(configure(cell, data))
    if "elmo" in config["components"]:
        config["components"]["elmo"]["cache_dir"] = None  # the probe of a user has no vectors yet
    growing = probe.run_probe(
        config,
        sentences=cell.sentences,
        expected=0.0,
        seconds=seconds,
        every=probe.EVERY,
        seed=cell.seed,
        clock=time.process_time,  # other programs that use the cores change nothing
    )
    *_, measured = growing  # the last one is complete
    return {
        **cell.describe(),
        "limit_seconds": seconds,
        "peak": measured.peak,
        "fitted": measured.fitted,
        "rows": measured.rows,
    }


def plan(study: str, task: str, sentences: int, seeds: list[int], wanted: Sequence[str] = ()) -> list[Cell]:
    """Return the cells of a study, by seed. wanted: systems; none: all."""
    check_known([task], NAMES, "task")
    check_known(wanted, SYSTEMS, "system")
    return [
        Cell(study, system, task, sentences, seed, **changes)
        for seed in seeds
        for system, changes in SYSTEMS.items()
        if not wanted or system in wanted
    ]


def main(
    train: Path = typer.Argument(..., help="Training sentences, .spacy."),
    dev: Path = typer.Argument(..., help="Development sentences, which the probe scores, .spacy."),
    test: Path = typer.Argument(..., help="Test sentences, which the full trainings score, .spacy."),
    metrics: Path = typer.Argument(..., help="Folder for the results of all studies."),
    task: str = typer.Option("ner", help="tagger or ner."),
    sentences: int = typer.Option(500, min=1, help="Training sentences of the full trainings."),
    seeds: str = typer.Option("0 1 2", help="Seeds of the full trainings, as one argument; empty: none."),
    probe_seeds: str = typer.Option("0", help="Seeds of the probes, as one argument; empty: none."),
    probe_sentences: int = typer.Option(probe.SENTENCES, min=1, help="Sentences of a probe."),
    seconds: float = typer.Option(
        probe.SECONDS, min=1.0, help="Seconds of the processor for a probe at most."
    ),
    steps: int = typer.Option(500, min=1, help="Steps of each full training."),
    test_sentences: int = typer.Option(0, min=0, help="Test sentences, 0: all."),
    system: list[str] = typer.Option([], help="A system to run; none: all."),
    cache: Path = typer.Option(Path("training/cache"), help="Folder for the layers of sentences."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
) -> None:
    """Run the cells that are missing, the probes first."""
    try:
        probed = Data(train, dev, 0, 0, cache, configs)
        for cell in plan(STUDY, task, probe_sentences, _numbers(probe_seeds), system):
            path = metrics / STUDY / f"{cell.name}.json"
            check_file(path, {**cell.describe(), "limit_seconds": seconds})
            if not path.exists():
                write_json(path, run_probe(cell, probed, seconds))
            found = read_json(path)
            typer.echo(f"{cell.name}: {_describe(found)}")
        data = Data(train, test, steps, test_sentences, cache, configs)
        cells = plan(FULL, task, sentences, _numbers(seeds), system)
        run_all(cells, data, metrics, lambda cell, data: run_cell(cell, data, configure))
    except (StudyError, probe.ProbeError, OSError, ValueError) as error:
        fail(str(error))


def _numbers(text: str) -> list[int]:
    return numbers(text) if text.strip() else []


def _describe(found: dict[str, Any]) -> str:
    peak = found["peak"]
    fitted = "fitted" if found["fitted"] else "not fitted"
    return f"{100 * peak['dev']:.2f} at step {peak['step']:.0f} ({peak['seconds']:.0f} s), {fitted}"


if __name__ == "__main__":
    typer.run(main)
