"""The page for the browser: its units, layers and cosines equal those of Python, without a network."""

import json
import platform
import re
import shutil
import subprocess
from pathlib import Path

import build_page
import numpy as np
import pytest
import spacy
from export_model import export_model, is_east_asian_ranges
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

import spacy_elmo
from spacy_elmo.errors import ElmoError, OutputError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.encode import encode
from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pipeline.annotations.alignment import align_characters

DRIVER = Path(__file__).with_name("browser_driver.js")
SENTENCES = [
    "他打开了电脑。",
    "不要打人！",
    "電腦與軟體",
    "用Ｌｉｎｕｘ kernel 1998",
    "龘",
    "中国人民银行的行长" * 12,
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def needs(*names: str) -> None:
    """Skip the test unless one of the programs is installed."""
    if not any(map(shutil.which, names)):
        pytest.skip(f"{names[0]} is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder that the build writes, with the bundled model."""
    needs(build_page.COMPILER)
    folder = tmp_path_factory.mktemp("browser")
    build_page.build(folder)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("library") / "encoder.js"
    path.write_text(build_page.library(), encoding="utf8")
    return path


def node(library: Path, kernel: Path | None = None, model: Path | None = None, **request) -> dict:
    needs("node")
    command = ["node", DRIVER, library, kernel or "", model or ""]
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, encoding="utf8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chromium(page: Path, script: str = "", fragment: str = "") -> str:
    """The message and the bars of the page, as HTML, after a script at its end has run."""
    needs(*BROWSERS)
    program = next(name for name in BROWSERS if shutil.which(name))
    copy = page.with_name("copy.html")
    text = page.read_text(encoding="utf8").replace("\nstart();\n", f"\nstart().then(() => {{ {script} }});\n")
    copy.write_text(text, encoding="utf8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    flags += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [program, *flags, f"{copy.as_uri()}#{fragment}"], capture_output=True, text=True, timeout=120
    )
    return re.search(r'<section class="result".*?</section>', done.stdout, re.DOTALL)[0]


def assert_same_layers(bilm: BiLM, found: list[list[float]], sentences: list[list[str]]) -> None:
    for expected, layers in zip(bilm.encode(sentences), found, strict=True):
        np.testing.assert_allclose(np.reshape(layers, expected.shape), expected, rtol=0, atol=1e-5)


def test_layers_equal_those_of_python(built):
    bilm = spacy_elmo.load()
    sentences = [
        units
        for text in SENTENCES
        for units in align_characters(text, np.array([0]), np.array([len(text)]), 128).sentences
    ]
    parts = built / "encoder.js", built / "elmo.wasm", built / "elmo.safetensors"
    found = node(*parts, encode=sentences)["layers"]
    assert_same_layers(bilm, found, sentences)
    if platform.machine() == "x86_64" and "plain" in supported_targets():
        for expected, layers in zip(encode(bilm, sentences, backend="native plain"), found, strict=True):
            np.testing.assert_array_equal(np.reshape(layers, expected.shape), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"n_ngrams": 3, "cell_clip": 0.2, "proj_clip": 0.1, "n_layers": 3},
        {"hidden_size": 10, "use_skip_connections": False},
    ],
    ids=["clips and n-grams", "without projection"],
)
def test_layers_of_other_models(built, tmp_path, options):
    config = BiLMConfig(**{"projection_dim": 10, "hidden_size": 12, **options})
    ngrams = ["打开", "开了", "他打开"][: config.n_ngrams]
    bilm = BiLM(config, Vocab("他打开了电脑", ngrams=ngrams)).eval()
    for parameter in bilm.parameters():
        parameter.data *= 3  # so that the clips change something
    model = tmp_path / "model.safetensors"
    model.write_bytes(export_model(bilm))
    sentences = [list("他打开了电脑"), list("他打"), ["书"]]
    found = node(built / "encoder.js", built / "elmo.wasm", model, encode=sentences)
    assert_same_layers(bilm, found["layers"], sentences)


COMPARISONS = [
    (["他", "打开", "了", "电脑"], ["打开", "窗户", "。"], "打开"),
    (["他", "吃", "了", "苹果", "。"], ["苹果", "公司"], "苹果"),
    (["用", "Linux", "吧", "。", "好"], ["他", "不", "用", "。", "Linux", "好"], "Linux"),
]


def test_cosines_equal_similarity(built):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"precision": "f32"}})
    texts = [("".join(first), "".join(second), word) for first, second, word in COMPARISONS]
    parts = built / "encoder.js", built / "elmo.wasm", built / "elmo.safetensors"
    found = node(*parts, compare=texts)["cosines"]
    for (first, second, word), cosines in zip(COMPARISONS, found, strict=True):
        tokens = [
            next(token for token in nlp(Doc(nlp.vocab, words, [False] * len(words))) if token.text == word)
            for words in (first, second)
        ]
        expected = [spacy_elmo.similarity(*tokens, layer=layer) for layer in range(3)]
        np.testing.assert_allclose(cosines, expected, atol=1e-5)


text = st.text("他打开了。！…”」aZ０Ａ,. \t\n\r\u3000\x1c\ufeff“—𠮷é", max_size=30)


@given(st.lists(text, min_size=50, max_size=100))
@settings(max_examples=5, deadline=None, phases=[Phase.generate])  # each example starts a process
def test_units_equal_those_of_python(library, texts):
    options = {"eastAsian": list(is_east_asian_ranges()), "foldsFullWidth": True, "maxSentenceLength": 7}
    found = node(library, options=options, read=texts)["read"]
    for text, sentences in zip(texts, found, strict=True):
        expected = align_characters(text, np.array([0]), np.array([len(text)]), 7)
        assert [sentence["units"] for sentence in sentences] == expected.sentences
        for sentence in sentences:
            for unit, offset in zip(sentence["units"], sentence["offsets"], strict=True):
                there = text[offset]
                assert there.isspace() if unit == " " else there in (unit, chr(ord(unit) + 0xFEE0))


def test_a_model_of_words_is_refused():
    bilm = BiLM(BiLMConfig(units="word", projection_dim=8, hidden_size=8), Vocab(["他们"]))
    with pytest.raises(ElmoError, match="models of characters"):
        export_model(bilm)


@pytest.mark.parametrize("name", [build_page.PAGE, *build_page.PARTS])
def test_a_file_of_another_program_is_refused(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"Cannot write .*{name}: .* name a new f"):
        build_page.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_the_page_shows_a_cosine_for_each_layer(built):
    first, second, word = ("".join(part) for part in COMPARISONS[1])
    fragment = f"first={first}&second={second}&word={word}"
    parts = built / "encoder.js", built / "elmo.wasm", built / "elmo.safetensors"
    needs(*BROWSERS)
    (expected,) = node(*parts, compare=[(first, second, word)])["cosines"]
    result = chromium(built / "index.html", fragment=fragment)
    assert re.findall(r'class="value">([^<]+)<', result) == [f"{cosine:.3f}" for cosine in expected]
    assert result.count(f"<mark>{word}</mark>") == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [("猫", "The word “猫” is not in the first sentence: choose"), ("", "No word is chosen: type one")],
)
def test_the_page_says_what_is_wrong_after_typing(built, word, message):
    script = (
        f'const w = document.getElementById("word"); w.value = "{word}"; w.dispatchEvent(new Event("input"));'
    )
    result = chromium(built / "index.html", script)
    assert f'class="error">{message}' in result
    assert 'id="bars" hidden' in result


def test_the_page_loads_nothing_from_elsewhere():
    sources = [path.read_text(encoding="utf8") for path in build_page.HERE.glob("page.*")]
    assert len(sources) == 3
    assert not re.findall(r"https?:|url\(|@import|fetch\(|src=", "\n".join(sources))
