"""Messages about files that are refused."""

import pytest

from spacy_elmo.formats import FormatError


def refused(message, load, *args, **kwargs):
    """Loading raises a FormatError with that message, in one short sentence."""
    with pytest.raises(FormatError, match=message) as caught:
        load(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 600
