"""Pictures of the commands: curves of pretraining, layer weights, the page of nearest occurrences."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib.util import find_spec

import numpy as np
import pytest
import spacy
from pipeline.helpers import TOK2VEC, examples, make_bilm

from spacy_elmo.pipeline.layer_weights import collect_layer_weights

from .helpers import plain, run

needs_matplotlib = pytest.mark.skipif(
    find_spec("matplotlib") is None, reason="matplotlib is not installed (the extra monitoring)"
)


def refused(*args) -> str:
    """Return the command's message when it ends with status 1."""
    result = run(*args)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return plain(result.output)


def texts(svg) -> str:
    return " ".join(ET.parse(svg).getroot().itertext())


@needs_matplotlib
def test_plot_draws_a_run_and_draws_it_again(made, tmp_path):
    picture = tmp_path / "curve.svg"
    for _ in range(2):
        result = run("plot", made / "run", picture)
        assert result.exit_code == 0, result.output
    rows = json.loads((made / "run" / "run.json").read_bytes())["log"]
    assert f"held-out perplexity {rows[-1]['dev']['forward']:.2f} forward" in plain(result.output)
    for text in ("perplexity", "held-out, forward", "held-out, backward", "training, with dropout"):
        assert text in texts(picture)
    before = picture.read_bytes()
    assert run("plot", made / "run", picture).exit_code == 0
    assert picture.read_bytes() == before


@needs_matplotlib
def test_plot_compares_runs(made, tmp_path):
    other = tmp_path / "wider"
    other.mkdir()
    (other / "run.json").write_bytes((made / "run" / "run.json").read_bytes())
    assert run("plot", made / "run", other, tmp_path / "curve.svg").exit_code == 0
    assert {"run, forward", "wider, backward"} <= {*re.findall(r"\w+, \w+", texts(tmp_path / "curve.svg"))}
    for _ in range(2):
        assert run("plot", made / "run", tmp_path / "curve.png").exit_code == 0
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@needs_matplotlib
def test_dollars_in_names_begin_no_formula(made, tmp_path):
    other = tmp_path / r"r$\frac$"
    other.mkdir()
    (other / "run.json").write_bytes((made / "run" / "run.json").read_bytes())
    result = run("plot", made / "run", other, tmp_path / "curve.svg")
    assert result.exit_code == 0, result.output
    assert r"r$\frac$, forward" in texts(tmp_path / "curve.svg")
    assert r"r$\frac$: held-out" in plain(result.output)


def test_plot_of_damaged_numbers(made, tmp_path):
    record = json.loads((made / "run" / "run.json").read_bytes())
    for change in (
        {"loss": "x"},
        {"loss": None},
        {"loss": [10**400]},
        {"step": 10**400},
        {"step": "a", "dev": {"forward": "b", "backward": "c"}},
    ):
        changed = {**record, "log": [*record["log"], {**record["log"][-1], **change}]}
        (tmp_path / "run.json").write_text(json.dumps(changed))
        assert "damaged" in refused("plot", tmp_path, tmp_path / "curve.svg")


def test_plot_says_what_is_missing(made, tmp_path):
    picture = tmp_path / "curve.svg"
    assert "There is no run.json" in refused("plot", tmp_path, picture)
    (tmp_path / "run.json").write_text("{}")
    assert "damaged" in refused("plot", tmp_path, picture)
    (tmp_path / "run.json").write_text("[" * 100_000)
    assert "damaged" in refused("plot", tmp_path, picture)
    (tmp_path / "run.json").write_text('{"log": []}')
    assert "no measurement yet" in refused("plot", tmp_path, picture)
    assert "does not end in .svg" in refused("plot", made / "run", tmp_path / "curve.gif")
    picture.write_text("<svg/>")
    assert "another program wrote it" in refused("plot", made / "run", picture)
    assert picture.read_text() == "<svg/>"
    assert "There is no run.json" in refused("plot", made / "run" / "run.json", tmp_path / "x.svg")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("curve.svg", "<svg><!-- of spacy-elmo --></svg>"),
        ("logo.svg", "<svg><metadata><dc:title>spacy-elmo</dc:title></metadata></svg>"),
        ("curve.png", "\x89PNG\r\n\x1a\ntEXtTitle\0spacy-elmo"),
    ],
)
def test_the_name_of_the_package_alone_is_not_its_mark(made, tmp_path, name, content):
    picture = tmp_path / name
    picture.write_bytes(content.encode("latin-1"))
    assert "another program wrote it" in refused("plot", made / "run", picture)
    assert picture.read_bytes() == content.encode("latin-1")


@pytest.fixture
def pipeline(tmp_path):
    make_bilm().save(tmp_path / "model")
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(tmp_path / "model")}})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}})
    nlp.initialize(lambda: examples(nlp))
    return nlp


@needs_matplotlib
def test_layer_weights(pipeline, tmp_path):
    (mix,) = collect_layer_weights(pipeline)
    np.testing.assert_allclose(mix.weights, 1 / 3)  # before any training
    assert (mix.component, mix.gamma) == ("tagger", 1.0)
    node = next(n for n in pipeline.get_pipe("tagger").model.walk() if n.name == "elmo-scalar-mix")
    node.set_param("w", np.log(np.array([1, 2, 7], dtype="f")))
    pipeline.to_disk(tmp_path / "pipeline")
    result = run("layer-weights", tmp_path / "pipeline", tmp_path / "weights.svg")
    assert result.exit_code == 0, result.output
    assert "tagger 0.100 0.200 0.700 1.000" in plain(result.output)
    for text in ("embedding", "LSTM 2", "10%", "20%", "70%", "gamma 1.00"):
        assert text in texts(tmp_path / "weights.svg")


def test_layer_weights_of_no_listener(tmp_path):
    spacy.blank("zh").to_disk(tmp_path / "blank")
    assert "No component of" in refused("layer-weights", tmp_path / "blank")
    assert "There is no pipeline" in refused("layer-weights", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("meta.json", "{}"),
        ("meta.json", "{"),
        ("config.cfg", "[nlp"),
        ("config.cfg", '[nlp]\nlang = "zh"\npipeline = ["x"]\n\n[components.x]\nfactory = "x"\n'),
    ],
)
def test_layer_weights_of_a_damaged_pipeline(tmp_path, file, text):
    spacy.blank("zh").to_disk(tmp_path / "pl")
    (tmp_path / "pl" / file).write_text(text)
    said = refused("layer-weights", tmp_path / "pl")
    assert "cannot be loaded" in said
    assert said.count("✘") == 1


def test_layer_weights_of_a_pipeline_without_its_model(pipeline, tmp_path):
    pipeline.to_disk(tmp_path / "pl")
    (tmp_path / "pl" / "elmo" / "model" / "config.json").write_text("{")
    assert "config.json is damaged" in refused("layer-weights", tmp_path / "pl")


class Page(HTMLParser):
    """Text of the cells, and every tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "td":
            self.cells.append("")
            self.inside = True

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"


def test_nearest_writes_a_page(made, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("他<script>爱</script>北京&上海。\n我爱北京天安门。\n", encoding="utf8")
    page = tmp_path / "page.html"
    for _ in range(2):
        result = run("nearest", "我爱北京", "北京", text, "--model", made / "run" / "model", "--html", page)
        assert result.exit_code == 0, result.output
    found = Page(page.read_text(encoding="utf8"))
    assert "script" not in {tag for tag, _ in found.tags}
    assert not [value for _, attrs in found.tags for key, value in attrs.items() if key in ("src", "href")]
    rows = {tuple(found.cells[i + 2 : i + 5]) for i in range(0, 15, 5)}
    assert ("我爱", "北京", "") in rows
    assert ("他<script>爱</script>", "北京", "&上海。") in rows
    other = "<html>docs of spacy-elmo, by another program</html>"
    page.write_text(other, encoding="utf8")
    said = refused("nearest", "我爱北京", "北京", text, "--model", made / "run" / "model", "--html", page)
    assert "another program wrote it" in said
    assert page.read_text(encoding="utf8") == other
