// The products and cells of one step of an LSTM layer in AMX tiles, in place of those of lstm_blocks-inl.h.
//   gates       [H / V blocks][inputs, state][half][K / 2][HALF_BLOCK][2]
//   projection  [P / 4V blocks][half][M / 2][HALF_BLOCK][2]
//   m           (H_row / 32, B + SPARE, 32): the order in which tiles read it
// Inputs and states of a block lie next to each other, since one pass reads both.

#if defined(ELMO_LSTM_AMX_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_AMX_INL_H_
#undef ELMO_LSTM_AMX_INL_H_
#else
#define ELMO_LSTM_AMX_INL_H_
#endif

#include <cstdint>

#include "compute_types.h"
#include "direction_state-inl.h"
#include "gemm_amx-inl.h"
#include "lstm_blocks-inl.h"
#include "packed_model.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

#if ELMO_AMX

template <>
ELMO_ATTR const bf16* block_weights<bf16>(const DirectionState<bf16>& d, const PackedLayer& layer, int64_t block,
                                          bool state) {
    return (const bf16*)layer.gates.get() + (2 * block + state) * d.model.K * BLOCK;
}

// Rows of a layer's inputs, or of its state, with the weights of a block; none where x is null.
ELMO_INLINE PackedInputs packed_inputs(const DirectionState<bf16>& d, const PackedLayer& layer, int64_t block,
                                       const bf16* x, bool state) {
    const int64_t K = d.model.K, n_groups = x ? K / AMX_INPUTS : 0;
    return {x, d.model.P_row, AMX_INPUTS, n_groups, block_weights<bf16>(d, layer, block, state), K * HALF_BLOCK};
}

template <>
ELMO_ATTR void input_product<bf16>(DirectionState<bf16>& d, const PackedLayer& layer, int64_t block, const bf16* x,
                                   const float*, int64_t n, float* out) {
    gemm_block_amx({nullptr, 0}, packed_inputs(d, layer, block, x, false), NO_INPUTS,
                   block_weights<bf16>(d, layer, block + 1, false), {out, BLOCK}, n);
}

// The cells of a block, from their sums without the bias.
ELMO_ATTR static ELMO_NOINLINE void lstm_rows(DirectionState<bf16>& d, const float* bias, int64_t block,
                                              const float* sums, int64_t n) {
    const VF32 i = load(bias), f = load(bias + LANES), g = load(bias + 2 * LANES), o = load(bias + 3 * LANES);
    const float clip = d.model.cell_clip;
    const int64_t H_row = d.model.H_row, group = AMX_INPUTS / LANES;
    float *c = d.c_of(block), *y = d.model.projects ? nullptr : d.y.get() + block * LANES;
    bf16* m = d.m.get();
    if (d.model.projects) m += block / group * (d.args.n_sentences + d.SPARE) * AMX_INPUTS + block % group * LANES;
    for (int64_t r = 0; r < n; r++, sums += BLOCK) {
        const VF32 gates[GATES] = {add(load(sums), i), add(load(sums + LANES), f), add(load(sums + 2 * LANES), g),
                                   add(load(sums + 3 * LANES), o)};
        lstm_cell_row(gates, c + r * LANES, m + r * AMX_INPUTS, y ? y + r * H_row : nullptr, clip);
    }
}

template <>
ELMO_ATTR void lstm_block<bf16>(DirectionState<bf16>& d, const PackedLayer& layer, int64_t j, const StepArgs<bf16>& s) {
    const int64_t n = d.batch_sizes[s.t];
    gemm_block_amx({s.sums, BLOCK}, packed_inputs(d, layer, j, s.x, false),
                   packed_inputs(d, layer, j, s.t ? d.h.get() : nullptr, true), s.next, {s.scratch, BLOCK}, n);
    lstm_rows(d, layer.bias.get() + j * BLOCK, j, s.x || s.t ? s.scratch : s.sums, n);
}

template <>
ELMO_ATTR void projection_block<bf16>(DirectionState<bf16>& d, const PackedLayer&, int64_t j, const bf16* w,
                                      const bf16* next, int64_t t) {
    const PackedModel& model = d.model;
    const int64_t group = (d.args.n_sentences + d.SPARE) * AMX_INPUTS;
    const PackedInputs m = {d.m.get(), AMX_INPUTS, group, model.M / AMX_INPUTS, w, model.M * HALF_BLOCK};
    gemm_block_amx({nullptr, 0}, m, NO_INPUTS, next, {d.y.get() + j * BLOCK, model.P_row}, d.batch_sizes[t]);
}

#endif  // ELMO_AMX

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
