"""BiLM.encode takes sentences of strings and refuses everything else."""

import numpy as np
import pytest
from modeling.helpers import ENCODERS, make_bilm

from spacy_elmo.errors import ElmoError


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("name", ["table", "both"])
@pytest.mark.parametrize("wrong", [None, [1], ["我", None], 1, [["我"]], iter(["我"])])
def test_sentences_that_are_not_lists_of_strings_are_an_error(name, wrong, stateful):
    bilm = make_bilm(**ENCODERS[name])
    with pytest.raises(ElmoError, match=r"sentences\[1\] is not a list of strings"):
        bilm.encode([["我"], wrong], stateful=stateful)


def test_strings_of_numpy_are_units():
    bilm = make_bilm()
    np.testing.assert_array_equal(bilm.encode([np.array(["我", "爱"])])[0], bilm.encode([["我", "爱"]])[0])


def test_a_string_instead_of_sentences_is_refused():
    with pytest.raises(ElmoError, match="sentences is a string: give a list"):
        make_bilm().encode("他打球")
