"""Seeds of generators: other runs, processes, steps and purposes draw other numbers."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from modeling.helpers import make_bilm

from spacy_elmo.modeling.collate import collate
from spacy_elmo.pretraining.data.dataloader import BatchLoader
from spacy_elmo.pretraining.step.candidate_sampling import CandidateSampler
from spacy_elmo.pretraining.step.train_step import TrainStep
from spacy_elmo.seeds import derive_seed

SENTENCES = [["我", "爱", "北京"], ["Linux"], ["我", "在", "北京", "的", "天安门", "未知"]]

PLACE = st.tuples(
    st.integers(0, 2**64 - 1), st.sampled_from(["a", "b"]), st.integers(0, 999), st.integers(0, 2**40)
)


@given(PLACE, PLACE)
def test_seeds_differ_in_the_bits_that_torch_takes(one, other):
    seeds = [derive_seed(seed, what, rank=rank, step=step) for seed, what, rank, step in (one, other)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert (seeds[0] % 2**32 == seeds[1] % 2**32) == (one == other)


def losses(seed, **options):
    bilm = make_bilm()
    return TrainStep(bilm, **options)(collate(bilm, SENTENCES), seed).nll.tolist()


def test_dropout_and_candidates_depend_on_every_bit_of_the_seed():
    seeds = [0, 1, 2**31, 2**32, 2**33, 5 * 2**33 + 1, 2**56]
    found = [losses(seed, dropout=0.5) for seed in seeds]
    assert len({tuple(each) for each in found}) == len(seeds)
    assert found[1] == losses(1, dropout=0.5)
    sampler = CandidateSampler(500, 50, torch.device("cpu"))
    drawn = [sampler.sample(torch.tensor([7]), derive_seed(seed, "candidates 0")).units for seed in seeds]
    assert len({tuple(units.tolist()) for units in drawn}) == len(seeds)


def test_the_seed_of_a_run_reaches_the_order(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "spacy_elmo.pretraining.data.dataloader.derive_seed",
        lambda seed, purpose, **more: (
            asked.append((seed, purpose, more)) or derive_seed(seed, purpose, **more)
        ),
    )
    stream = BatchLoader.__new__(BatchLoader)
    stream.corpus = type("Corpus", (), {"lengths": torch.tensor([3, 4, 5]).numpy()})()
    stream.batch_tokens, stream.seed = 20, 2**32 - 1
    assert sum(len(batch) for batch in stream.epoch(7)) == 3
    assert asked == [(2**32 - 1, "order", {"step": 7})]
