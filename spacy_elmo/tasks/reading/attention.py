"""Trilinear attention in both directions (Seo et al. 2017, section 2, layer 4)."""

import torch
from torch import Tensor, nn


class BidirectionalAttention(nn.Module):
    """Attention between a passage and a question, in both directions.

    The similarity is S_tu = w_h . h_t + w_u . u_u + w_m . (h_t * u_u), computed as three products, without a
    tensor (P, T, U, 2H). For each character h_t of the passage, a_t is the mean of the question's states,
    weighted by softmax_u(S_tu). b is the mean of the passage's states, weighted by softmax_t(max_u S_tu).
    """

    def __init__(self, width: int):
        super().__init__()
        self.passage_weight = nn.Linear(width, 1, bias=False)
        self.question_weight = nn.Linear(width, 1, bias=False)
        self.product_weight = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.product_weight, std=width**-0.5)

    def forward(self, H: Tensor, U: Tensor, mask: Tensor, question_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return a (P, T, width) and b (P, width) from H (P, T, width) and U (P, U, width).

        Masks are True at characters.
        """
        S = self._similarity(H, U, question_mask)  # (P, T, U)
        A = torch.bmm(S.softmax(-1).to(U.dtype), U)  # (P, T, width)
        weights = S.amax(-1).masked_fill(~mask, float("-inf")).softmax(-1)  # (P, T)
        B = torch.bmm(weights[:, None].to(H.dtype), H)  # (P, 1, width)
        return A, B[:, 0]

    def passage_to_question(self, H: Tensor, U: Tensor, question_mask: Tensor) -> Tensor:
        """Return the attention weights (P, T, U) of each character of the passage over the question."""
        return self._similarity(H, U, question_mask).softmax(-1)

    def _similarity(self, H: Tensor, U: Tensor, question_mask: Tensor) -> Tensor:
        question_part = self.question_weight(U).transpose(1, 2)  # (P, 1, U)
        question_part = question_part.masked_fill(~question_mask[:, None], float("-inf"))
        passage_part = self.passage_weight(H)  # (P, T, 1)
        products = torch.bmm(H * self.product_weight, U.transpose(1, 2))
        similarity: Tensor = products + passage_part + question_part
        return similarity


def length_mask(lengths: Tensor, size: int, device: torch.device) -> Tensor:
    """Return a mask (B, size) that is True at the first lengths[b] positions."""
    return torch.arange(size, device=device) < lengths.to(device)[:, None]
