"""Draw the results of the studies on one page of HTML, with pictures and examples inside it."""

import html
import math
import re
from collections.abc import Sequence
from io import BytesIO
from statistics import mean, stdev
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from spacy import displacy
from study import task_name

Row = dict[str, Any]
LEGEND_ROWS = 7
TITLES = {
    "curve": "Learning curve",
    "knobs": "Settings of the mix",
    "length": "Length",
    "encoders": "Next to a transformer",
    "encoder_costs": "Next to a transformer: cost in prediction",
    "finetune": "Frozen and fine-tuned biLM",
    "probe": "The quick check",
}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Gains from ELMo</title>
<style>
body{{font:16px/1.6 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse;margin:1em 0;font-size:15px}}
td,th{{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}}
svg{{max-width:100%;height:auto}} .facts{{color:#555}} .scroll{{overflow-x:auto}}
</style>
<h1>Gains from ELMo</h1>
<p>Scores in percent, mean ± standard deviation over seeds. No choice was made on the test data.
The peaks of the quick check are scores on development data.</p>
{sections}
</html>
"""


def page(tables: dict[str, Any], missing: dict[str, str], cells: dict[str, list[Row]]) -> str:
    """Build the page. tables: by study, None for those in `missing`, which say what makes them."""
    encoders = cells["encoders"]
    pictures = {
        "curve": curve_picture(cells["curve"]),
        "knobs": weights_picture(cells["knobs"]),
        "encoders": curve_picture(encoders) + weights_picture(encoders),
    }
    sections = []
    for name, title in TITLES.items():
        table = tables.get(name)
        body = f"<p>{_code(missing[name])}</p>" if table is None else table_html(table)
        sections.append(f"<h2>{title}</h2>\n{pictures.get(name, '')}\n{body}")
    sections.append(f"<h2>Examples</h2>\n{examples_html([*cells['curve'], *cells['knobs']])}")
    return PAGE.format(sections="\n".join(sections))


def table_html(rows: Sequence[Sequence[str]]) -> str:
    """Format a table; the first row is the header."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in rows[0])}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows[1:]]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def curve_picture(cells: list[Row]) -> str:
    """Draw the learning curves of `curve_figure` as SVG; "" without cells."""
    figure = curve_figure(cells)
    return _svg(figure) if figure else ""


def curve_figure(cells: list[Row]) -> Figure | None:
    """Draw the mean score over the number of sentences, a line for each system; None without cells.

    Bars show the standard deviation over the seeds. Cells of all sentences, whose number a cell does not
    know, are in the table only.
    """
    cells = [cell for cell in cells if cell["sentences"]]
    tasks = sorted(set(map(task_name, cells)))
    if not tasks:
        return None
    colors = {system: f"C{i}" for i, system in enumerate(sorted({cell["system"] for cell in cells}))}
    figure = Figure(figsize=(5 * len(tasks), 3.5), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        of_task = [cell for cell in cells if task_name(cell) == task]
        for system in sorted({cell["system"] for cell in of_task}):
            points: dict[int, list[float]] = {}
            for cell in of_task:
                if cell["system"] == system:
                    points.setdefault(cell["sentences"], []).append(100 * cell["score"])
            sizes = sorted(points)
            means = [mean(points[size]) for size in sizes]
            deviations = [stdev(points[size]) if len(points[size]) > 1 else 0.0 for size in sizes]
            axes.errorbar(sizes, means, deviations, marker="o", capsize=2, color=colors[system], label=system)
        axes.set(xscale="log", xlabel="training sentences", ylabel=f"{task}, %")
        sizes = sorted({cell["sentences"] for cell in of_task})
        axes.minorticks_off()
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.legend()
    return figure


def weights_picture(cells: list[Row]) -> str:
    """Draw the layer weights of each setting and number of sentences, a mean over seeds; "" without cells."""
    mixes: dict[str, list[list[float]]] = {}
    for cell in cells:
        if cell["mixes"]:
            label = f"{cell['task']}, {size_name(cell['sentences'])}, {cell['system']}"
            mixes.setdefault(label, []).append(cell["mixes"][0]["weights"])
    if not mixes:
        return ""
    means = [[mean(layer) for layer in zip(*each, strict=True)] for each in mixes.values()]
    n_layers = max(map(len, means))
    columns = 1 + (n_layers - 1) // LEGEND_ROWS
    rows = max(len(mixes), min(n_layers, LEGEND_ROWS))  # the legend at the side needs room, too
    figure = Figure(figsize=(8 + columns, 0.8 + 0.3 * rows), layout="constrained")
    axes = figure.subplots()
    starts = [0.0] * len(mixes)
    colors = colormaps["tab10" if n_layers <= 10 else "tab20"]
    for layer in range(n_layers):
        widths = [weights[layer] if layer < len(weights) else 0.0 for weights in means]
        axes.barh(list(mixes), widths, left=starts, label=f"layer {layer}", color=colors(layer))
        starts = [a + b for a, b in zip(starts, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="weight", xlim=(0, 1))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), ncols=columns)
    return _svg(figure)


def examples_html(cells: list[Row]) -> str:
    """Show the sentences that a cell has kept, as found by it and as annotated; by spaCy's displaCy.

    The cell is the one with the most training sentences, of those the first by system and seed: not the best
    one, because the examples are test sentences.
    """
    with_entities = [cell for cell in cells if cell["task"] == "ner" and cell["examples"] and cell["mixes"]]
    if not with_entities:
        return "<p>None yet: they come with a study of entities (<code>--vars.study_task ner</code>).</p>"
    cell = min(
        with_entities, key=lambda each: (-(each["sentences"] or math.inf), each["system"], each["seed"])
    )
    facts = f"{cell['system']}, {size_name(cell['sentences'])} sentences, seed {cell['seed']}"
    parts = [f'<p class="facts">{html.escape(facts)}. First as found, then as annotated.</p>']
    for each in cell["examples"]:
        for spans in (each["ents"], each["gold"]):
            shown = {"text": each["text"], "ents": spans, "title": None}
            parts.append(displacy.render(shown, style="ent", manual=True, jupyter=False))
    return "\n".join(parts)


def size_name(sentences: int) -> str:
    """Return a number of training sentences as it is shown; 0 is "all"."""
    return f"{sentences:,}" if sentences else "all"


def _code(text: str) -> str:
    """Return text as HTML, with its commands, which stand between backticks, as code."""
    return re.sub("`(.*?)`", r"<code>\1</code>", html.escape(text))


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    data = BytesIO()
    with rc_context({"svg.hashsalt": "spacy-elmo"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    text = data.getvalue().decode("utf8")
    return text[text.index("<svg") :]
