"""The quick check before a long training: it finds the peak, and says when that is too low."""

import json

import pytest
import spacy
from probe import Probe, ProbeError, make_config, take
from spacy.tokens import Doc, DocBin
from test_comparison import PROJECT, script

CONFIG = PROJECT.parents[1] / "configs" / "tagger_baseline.cfg"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty sentences whose tags are told by their words, and the same with tags that nothing tells."""
    folder = tmp_path_factory.mktemp("data")
    vocab = spacy.blank("zh").vocab
    for name, tags in (("learnable", ["a", "b", "c"]), ("random", ["a", "b", "c", "a", "c", "b", "b"])):
        docs = DocBin()
        for i in range(40):
            words = ["他打球"[(i + j) % 3] for j in range(8)]
            told = [
                tags[(i * j if name == "random" else "他打球".index(w)) % len(tags)]
                for j, w in enumerate(words)
            ]
            docs.add(Doc(vocab, words=words, tags=told))
        docs.to_disk(folder / f"{name}.spacy")
    return folder


def probe(data, name, output, *options):
    path = data / f"{name}.spacy"
    return script("probe", CONFIG, path, path, output, "--sentences", 20, "--every", 5, *options)


def test_a_task_that_can_be_learned(data, tmp_path):
    done = probe(data, "learnable", tmp_path / "probe.json", "--expected", 0.95)
    assert done.returncode == 0, done.stderr
    assert "95.00 was expected: the long training can start." in done.stdout
    found = json.loads((tmp_path / "probe.json").read_text())
    assert found["fitted"]
    assert found["reached"]
    assert found["peak"]["dev"] >= 0.95
    assert found["peak"] == max(found["rows"], key=lambda row: row["dev"])


def test_a_peak_that_is_too_low(data, tmp_path):
    done = probe(data, "random", tmp_path / "probe.json", "--expected", 0.99, "--seconds", 1)
    assert done.returncode == 1
    assert "the sample is not fitted" in done.stdout
    assert "99.00 was expected. The component hardly learns: check the vectors, gamma" in done.stdout
    assert not json.loads((tmp_path / "probe.json").read_text())["reached"]


def test_missing_data_is_one_sentence(tmp_path):
    done = script(
        "probe", CONFIG, tmp_path / "none.spacy", tmp_path / "none.spacy", "x.json", "--expected", 0.5
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "none.spacy does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_ends_when_the_sample_is_fitted_and_the_peak_has_passed():
    probe = Probe(expected=0.8)
    for step, (dev, sample) in enumerate([(0.5, 0.6), (0.9, 0.9), (0.8, 0.99), (0.8, 1.0), (0.7, 1.0)]):
        probe.rows.append({"step": step, "seconds": step, "loss": 1.0, "dev": dev, "sample": sample})
        assert not probe.has_ended()
    probe.rows.append({**probe.rows[-1], "step": 5})
    assert probe.has_ended()
    assert (probe.peak["step"], probe.reached, probe.fitted) == (1, True, True)
    assert probe.verdict().startswith("The peak is 90.00 at step 1 (1 s); 80.00 was expected: the long")
    probe.expected = 0.95
    assert "95.00 was expected. The sample is fitted, so the component learns, but" in probe.verdict()


def test_an_empty_corpus(tmp_path):
    with pytest.raises(ProbeError, match="no examples"):
        take(spacy.blank("zh"), lambda nlp: iter(()), 3, 0)
    with pytest.raises(ProbeError, match="does not exist"):
        make_config(tmp_path / "no.cfg", tmp_path, tmp_path, 0.5, 0.001)
