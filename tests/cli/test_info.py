"""`spacy elmo info`: what computes here, why, and how fast."""

import re
import subprocess
import sys
import unicodedata

import pytest
from pipeline.helpers import make_bilm

from spacy_elmo.cli import info
from spacy_elmo.inference.backends import available_backends
from spacy_elmo.kernels import binding

from .helpers import plain, run


@pytest.fixture
def no_kernel(monkeypatch, tmp_path):
    for kept in (binding.load_library, binding.supported_targets):
        kept.cache_clear()
    monkeypatch.setattr(binding, "FOLDER", tmp_path)
    yield tmp_path
    monkeypatch.undo()
    for kept in (binding.load_library, binding.supported_targets):
        kept.cache_clear()


def test_the_backend_has_a_reason(made):
    said = plain(run("info", made / "run" / "model").output)
    assert f"runs on {available_backends()[0]}, " in said
    assert "because " in said


def test_the_description_of_the_bundled_model_is_text():
    said = plain(run("info").output)
    assert re.search(r"perplexity forward [\d.]+, backward [\d.]+ pretraining", said)


def test_a_description_cannot_control_the_terminal(tmp_path):
    meta = {"licence": "mine\x1b]0;title\x07\x9b2J", "sources": ["a\nb", "c"], "k\x1b[2J": {"x\r": 1}}
    make_bilm(meta=meta).save(tmp_path / "model")
    output = run("info", tmp_path / "model").output
    assert not [c for c in output if c != "\n" and unicodedata.category(c) == "Cc"]
    assert re.search(r"licence +mine ]0;title  2J +\n", output)
    assert re.search(r"sources +a b, c +\n", output)


@pytest.mark.parametrize(
    ("platform", "built", "reason"),
    [
        ("win32", False, "Under Windows there is no native kernel, so torch computes, more slowly."),
        ("linux", False, "The native kernel was not built, so torch computes, more slowly: install a C++"),
        ("linux", True, "another kind of machine, so torch computes, more slowly: install spacy-elmo again."),
    ],
)
def test_torch_instead_of_the_kernel_has_a_reason(made, monkeypatch, no_kernel, platform, built, reason):
    if built:
        (no_kernel / "_native.so").write_bytes(b"of another machine")
    monkeypatch.setattr("spacy_elmo.inference.backends.sys.platform", platform)
    said = plain(run("info", made / "run" / "model").output)
    assert "runs on torch, " in said
    assert reason in said


def test_benchmark(made, monkeypatch):
    monkeypatch.setattr(info, "SECONDS", 0.0)
    said = plain(run("info", made / "run" / "model", "--benchmark").output)
    for text in (
        "characters/s",
        "torch f32",
        "torch bf16",
        "1.0x",
        "precision auto",
        "Batches of 64 sentences",
    ):
        assert text in said
    assert "onnxruntime" in said  # its speed, or how to install it


WINDOWS = """
import importlib.abc, os, signal, sys
import spacy, torch, joblib, tqdm, typer                     # of others: they know the real system
for name in ("fork", "register_at_fork", "sched_getaffinity", "sysconf", "getuid", "geteuid", "O_NOFOLLOW"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGUSR1"):
    delattr(signal, name)

class NoPosix(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp", "termios"):
            raise ImportError(name)

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, NoPosix())
sys.platform = "win32"
from pathlib import Path
from spacy_elmo.kernels import binding
binding.FOLDER = Path(sys.argv[1])                           # setup.py builds no kernel there
nlp = spacy.blank("zh")
nlp.add_pipe("elmo", config={"model": {"path": sys.argv[2]}})
assert nlp("我爱北京")._.elmo.layers.shape == (3, 4, 8)
nlp.to_disk(Path(sys.argv[1]) / "pipeline")
from spacy_elmo.cli.commands import app
app(["info", sys.argv[2]])
"""


def test_a_pipeline_runs_without_what_windows_lacks(made, tmp_path):
    """Simulated: this Python with neither the modules and functions of POSIX nor a kernel."""
    arguments = [sys.executable, "-c", WINDOWS, tmp_path, made / "run" / "model"]
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Under Windows there is no native kernel, so torch computes, more slowly." in plain(done.stdout)
