"""`spacy elmo layer-weights`: show the layer weights that a trained pipeline has learned."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from wasabi import msg, table

from ..errors import ElmoError
from .app import command, one_line
from .pictures import check_file, literal, make_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..pipeline.layer_weights import LayerWeights


@command("layer-weights")
def layer_weights(
    pipeline: str = typer.Argument(..., help="Folder or name of a trained pipeline"),
    output: Path | None = typer.Argument(None, help="Picture to write, NAME.svg or NAME.png; default: none"),
) -> None:
    """Show the weights of ELMo's layers that each component has learned, and draw them.

    The weights of a mix sum to 1; gamma scales all of them. With layer_norm = false, the values of some
    layers are larger than those of others, so a small weight can be a large share of the mix.
    """
    import spacy

    from ..pipeline.layer_weights import collect_layer_weights

    if output is not None:
        check_file(output)
    try:
        nlp = spacy.load(pipeline)
    except OSError as error:
        raise ElmoError(f"There is no pipeline {pipeline}: give the folder of a trained one.") from error
    except ElmoError:
        raise
    except Exception as error:  # of whatever the pipeline names
        raise ElmoError(
            f"The pipeline {pipeline} cannot be loaded, give another one: {one_line(error)}"
        ) from error
    mixes = collect_layer_weights(nlp)
    if not mixes:
        raise ElmoError(
            f"No component of {pipeline} learns from ELMo's layers: give a pipeline that was trained on ELMo."
        )
    names = layer_names(max(len(mix.weights) for mix in mixes))
    rows = [(m.component, *(f"{w:.3f}" for w in m.weights), f"{m.gamma:.3f}") for m in mixes]
    aligns = ("l", *"r" * (len(names) + 1))
    print(table(rows, header=("component", *names, "gamma"), divider=True, aligns=aligns))
    if output is not None:
        figure = make_figure(7, 1.2 + 0.5 * len(mixes))
        draw(figure, mixes, names)
        save_figure(figure, output)
        msg.good(str(output))


def layer_names(n_layers: int) -> list[str]:
    """Return the names of layers: the embedding, then the LSTMs."""
    return ["embedding", *(f"LSTM {i}" for i in range(1, n_layers))]


def draw(figure: "Figure", mixes: "list[LayerWeights]", names: list[str]) -> None:
    """Draw one bar for each mix, divided into the layers' weights."""
    axes = figure.subplots()
    labels = [f"{literal(mix.component)}\ngamma {mix.gamma:.2f}" for mix in mixes]
    start = [0.0] * len(mixes)
    for j, name in enumerate(names):
        widths = [float(mix.weights[j]) if j < len(mix.weights) else 0.0 for mix in mixes]
        bars = axes.barh(labels, widths, left=start, label=name, color=f"C{j}", height=0.7)
        texts = [f"{width:.0%}" if width >= 0.05 else "" for width in widths]
        axes.bar_label(bars, labels=texts, label_type="center", color="white")
        start = [before + width for before, width in zip(start, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="weight of the layer, softmax(w)")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(names), frameon=False)
