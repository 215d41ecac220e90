"""Read JSON from files that others may have written."""

import json
import re
from typing import Any

# The escape of half of a surrogate pair: "\ud800" to "\udfff". Whole pairs are written in the same way.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(data: bytes) -> Any:
    r"""Return the value of JSON in UTF-8.

    Raises a ValueError if data is not JSON, is nested too deeply for Python, or has half of a surrogate pair
    (`"\ud800"`): Python reads it, but neither a file nor spaCy can hold the string.
    """
    try:
        value = json.loads(data.decode("utf8"))
        if _HALF.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf8")  # raises a UnicodeEncodeError, a ValueError
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error
    return value
