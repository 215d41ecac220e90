"""Both sides of the C interface declare the same functions and structs; wrong fields are refused."""

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest

from spacy_elmo.kernels import native_interface
from spacy_elmo.kernels.binding import call, structure_of, supported_targets
from spacy_elmo.kernels.native_interface import FUNCTIONS, Kind, Pointer, Scalar, Struct

# The headers of the repository, because an installed package has none.
NATIVE = Path(__file__).parents[2] / "spacy_elmo" / "kernels" / "native"
STRUCTS = {value.name: value for value in vars(native_interface).values() if isinstance(value, Struct)}
POINTED = {"f4": "float", "i8": "int64_t", "u1": "char", "f8": "double"}


def without_comments(name: str) -> str:
    return re.sub(r"//.*", "", (NATIVE / name).read_text(encoding="utf8"))


def declared_structs() -> dict[str, list[tuple[str, str]]]:
    """Types and names of the fields of each struct of args.h, nested ones written out."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", without_comments("args.h"), re.S):
        found[name] = []
        for line in filter(None, map(str.strip, body.split(";"))):
            kind, field = re.fullmatch(r"(.*?)(\w+)", line, re.S).groups()
            kind = kind.strip()
            found[name] += found.get(kind, [(kind, field)])
    return found


def type_of(kind: Kind) -> str:
    """A kind of parameter in C++, without const."""
    if isinstance(kind, Scalar):
        return kind.value.replace("const ", "")
    return POINTED[kind.array.str[1:]] + ("**" if kind.many else "*")


def plain(kind: str) -> str:
    return kind.replace("const", "").replace(" ", "").replace("Moments*", "float*")


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_have_the_fields_of_the_header(name):
    declared = declared_structs()[name]
    assert [field for _, field in declared] == list(STRUCTS[name].fields)
    kinds = [type_of(kind) for kind in STRUCTS[name].fields.values()]
    assert [plain(kind) for kind, _ in declared] == kinds
    for (kind, _), field in zip(declared, STRUCTS[name].fields.values(), strict=True):
        if isinstance(field, Pointer) and field.written:
            assert not kind.startswith("const"), field


def test_every_struct_is_declared():
    assert set(declared_structs()) - {"Moments"} == set(STRUCTS)


@pytest.mark.parametrize("name", STRUCTS)
def test_fields_have_no_padding(name):
    structure = structure_of(STRUCTS[name])
    offsets = [getattr(structure, field).offset for field, _ in structure._fields_]
    assert offsets == [8 * i for i in range(len(offsets))]
    assert ctypes.sizeof(structure) == 8 * len(offsets)
    counted = re.search(rf"has_layout<{name}, (\d+)>", without_comments("args.h"))
    assert int(counted[1]) == len(offsets)  # what static_assert compares with the compiler's size


def test_functions_have_the_parameters_of_the_header():
    declared = {
        name: [result, *filter(None, map(str.strip, parameters.split(",")))]
        for result, name, parameters in re.findall(
            r"ELMO_PUBLIC (.+?)(elmo_\w+)\((.*?)\);", without_comments("elmo_api.h"), re.S
        )
    }
    assert set(declared) - {"elmo_abi_version"} == set(FUNCTIONS)
    for name, function in FUNCTIONS.items():
        result, *parameters = declared[name]
        assert plain(result) == plain(function.result.value), name
        assert len(parameters) == len(function.parameters), name
        for parameter, kind in zip(parameters, function.parameters, strict=True):
            expected = f"elmo::{kind.name}*" if isinstance(kind, Struct) else type_of(kind)
            found = plain(re.fullmatch(r"(.*?)\w+", parameter, re.S)[1])
            assert found == expected, name


@pytest.mark.skipif(not supported_targets(), reason="the native kernel was not built")
def test_fields_that_a_struct_does_not_have():
    arrays = {"x": np.zeros((1, 1), "f4"), "out": np.zeros((1, 1), "f4"), "repeats": 1}
    with pytest.raises(TypeError, match=r"MatmulInputs.*n_rows"):
        call("elmo_matmul", None, **arrays)
    with pytest.raises(TypeError, match=r"MatmulInputs.*n_columns"):
        call("elmo_matmul", None, n_rows=1, n_columns=1, **arrays)
    with pytest.raises(ValueError, match="contiguous"):
        call("elmo_matmul", None, n_rows=1, **{**arrays, "x": np.zeros((1, 1))})
