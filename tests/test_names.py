"""Names that were replaced by the field's terms stay replaced. docs/migration.md has the public ones.

The same from the shell, with the words of OLD_NAMES in old_names.txt, one a line:
git grep -wnFf old_names.txt -- ':!CHANGELOG.md' ':!docs/migration.md' ':!spacy_elmo/modeling/format_v1.py' \
    ':!tests/data' ':!tests/test_names.py' ':!tests/test_prose.py'
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["spacy_elmo", "tests", "benchmarks", "configs", "docs", "projects"]
SUFFIXES = {".py", ".md", ".cfg", ".yml", ".cc", ".h", ".toml", ".in"}
MAY_HAVE_THEM = {
    "CHANGELOG.md",
    "docs/migration.md",
    "spacy_elmo/modeling/format_v1.py",
    "tests/test_names.py",
    "tests/test_prose.py",
}

# Words that mean nothing else: words of plain English that were names as well are left out.
OLD_NAMES = """
add_ngrams clipped_lstm JoinedDirections TrainingStep _Side _sides SideBySide GraphedStep FullSoftmaxLoss
chunk_of log_chance cells_forward cells_backward cudnn_takes product_dtype as_half processor_has products_of
homeless batches_by_length _Undrawn place_of to_int8 RowCache _start_anew unit_size engine_of EngineError
make_route TorchRoute NativeRoute GpuRoute native_route torch_route gpu_route Switches cells_of switches_of
TableUnits EncodedUnits units_of Speller _Convolutions _in_pieces instruction_sets is_of shim_of InPortions
Replacer share_bilm hasten WORTH_PACKING InOnePass JointInOnePass in_one_pass join_in_one_pass _side_by_side
Shelf MemoryShelf DiskShelf named_in_config ConfiguredModelError means_of mean_of WithStatic every_token
_cuts_a_word one_each WorldError add_up sum_gradients open_parent _with_those_of _asks_for_those_of
cut_block make_part count_types Tally SeenLines BatchStream spell_all make_optimizer make_step
find_batch_tokens bound_caches neighbour_vectors _factorised frequent_ngrams COHESION read_heldout make_plan
jieba_words _lost_patience forget_ones widen_gates cells_for tied_softmax longest_ngram static_rows
longest_unit max_sentence char_padding projection_clip table_width char_width ngram_width keep_checkpoints
eval_units Crew on_threads in_threads share_first fetch_unit sums_of sum_tile sum_rows IN_TILES fit_tiles
sum_pass sum_block show_damage as_they_are elmo_isa elmo_new elmo_free elmo_interface elmo_same elmo_fastest
lstm_tiles test_house test_beginning test_world test_crew test_damage test_neighbours Rooms BiLM_v1
make_elmo_v1 row_cache _Room bilm_layer ISAS embed_file isa isa_number fastest_type read_settings
TrainingSettings VocabSettings table_dim
"""


def texts() -> list[Path]:
    """Return all text files of the repository that may not have an old name."""
    deep = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    files = [path for path in (*ROOT.iterdir(), *deep) if path.suffix in SUFFIXES and path.is_file()]
    names = {path: path.relative_to(ROOT).as_posix() for path in files}
    return [path for path, name in names.items() if name not in MAY_HAVE_THEM and "tests/data/" not in name]


def test_no_old_name_is_left():
    pattern = re.compile(rf"\b({'|'.join(OLD_NAMES.split())})\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1)
        for match in pattern.finditer(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", sorted(MAY_HAVE_THEM))
def test_files_that_may_have_them_are_there(name):
    assert (ROOT / name).is_file()
