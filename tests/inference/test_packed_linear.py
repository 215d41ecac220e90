"""Packed products."""

import pytest
import torch

from spacy_elmo.kernels.packed_linear import packed_linear


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (130, 520), (512, 2048), (530, 2400), (1024, 128)])
def test_a_row_does_not_depend_on_the_number_of_rows(dtype, inputs, outputs):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(outputs, inputs), torch.randn(outputs), torch.randn(300, inputs)
    product, x = packed_linear(weight.to(dtype), bias.to(dtype)), x.to(dtype)
    with torch.inference_mode():
        together = product(x)
        for m in (1, 2, 7, 16, 33, 40, 97, 128, 200):
            torch.testing.assert_close(product(x[:m].clone()), together[:m], atol=0, rtol=0)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_it_is_the_linear_map(dtype, near):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(70, 601) / 25, torch.randn(70), torch.randn(9, 601)
    with torch.inference_mode():
        found = packed_linear(weight.to(dtype), bias.to(dtype))(x.to(dtype)).float()
    torch.testing.assert_close(found, x @ weight.T + bias, atol=near, rtol=near)
