// Single operations, for tests and benchmarks: a product with a packed matrix, LSTM cells, and what the processor can
// do at most.

#if defined(ELMO_SINGLE_OPS_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_SINGLE_OPS_INL_H_
#undef ELMO_SINGLE_OPS_INL_H_
#else
#define ELMO_SINGLE_OPS_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "gemm_amx-inl.h"
#include "lstm_cell-inl.h"
#include "packed_model.h"
#include "quantize-inl.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

// n rows times block j of a packed matrix. next: weights that are wanted next.
template <class T>
ELMO_ATTR static void matmul_block(const PackedMatrix& m, const T* x, int64_t n, const float* x_scales, int64_t j,
                                   const T* w, float* out) {
    static const float zeros[BLOCK] = {};
    const float* scales = m.type == INT16 ? m.scales.get() + j * BLOCK : nullptr;
    gemm_block<T>({zeros, 0, x, m.K, w, m.K, {x_scales, scales}, out, m.N_row, w + m.K * BLOCK}, n);
}
#if ELMO_AMX
template <>
ELMO_ATTR void matmul_block<bf16>(const PackedMatrix& m, const bf16* x, int64_t n, const float*, int64_t, const bf16* w,
                                  float* out) {
    gemm_block_amx({nullptr, 0}, {x, m.K, AMX_INPUTS, m.K / AMX_INPUTS, w, m.K * HALF_BLOCK}, NO_INPUTS,
                   w + m.K * BLOCK, {out, m.N_row}, n);
}
#endif

// x (rows, inputs) times the transpose of a packed matrix -> out (rows, outputs).
template <class T>
ELMO_ATTR static void matmul(const PackedMatrix& m, const MatmulInputs& a) {
    constexpr int64_t spare = TypeTraits<T>::spare_rows;
    const int64_t padded = round_up(m.K, LANES);
    const AlignedBuffer<float> row(padded), scales(a.n_rows), sums((a.n_rows + spare) * m.N_row, false);
    const AlignedBuffer<T> x((a.n_rows + spare) * m.K + padded);
    for (int64_t r = 0; r < a.n_rows; r++) {
        memcpy(row.get(), a.x + r * m.n_inputs, m.n_inputs * sizeof(float));
        quantize_row(x.get() + r * m.K, row.get(), padded, scales.get() + r);
    }
    const TileScope tiles;
    for (int64_t i = 0; i < a.repeats; i++) {
        const T* w = (const T*)m.weights.get();
        for (int64_t j = 0; j < m.N_row / BLOCK; j++, w += m.K * BLOCK)
            matmul_block<T>(m, x.get(), a.n_rows, scales.get(), j, w, sums.get() + j * BLOCK);
    }
    for (int64_t r = 0; r < a.n_rows; r++)
        memcpy(a.out + r * m.n_outputs, sums.get() + r * m.N_row, m.n_outputs * sizeof(float));
}

// One step of all cells.
template <class T>
ELMO_ATTR static void lstm_cells(const LSTMCellArgs& a) {
    const VF32 exponents[GATES] = {set(-LOG2E), set(-LOG2E), set(-2 * LOG2E), set(-LOG2E)};
    const float clip = static_cast<float>(a.cell_clip);
    for (int64_t r = 0; r < a.n_rows; r++) {
        float *c = a.c + r * a.hidden_size, *out = a.out + r * a.hidden_size;
        for (int64_t i = 0; i < a.hidden_size; i += LANES) {
            const int64_t n = a.hidden_size - i;
            VF32 gates[GATES], state = load_partial(c + i, n);
            for (int64_t g = 0; g < GATES; g++)
                gates[g] = mul(load_partial(a.gates + (r * GATES + g) * a.hidden_size + i, n), exponents[g]);
            store_partial(out + i, lstm_cell<T>(gates, &state, clip), n);
            store_partial(c + i, state, n);
        }
    }
}

// A product whose operands stay in the first-level cache, `repeats` times, into the same sums: the rate at which the
// processor multiplies, at most. Return the number of operations.
template <class T>
ELMO_ATTR static double peak_products(int64_t repeats) {
    constexpr int64_t k = TypeTraits<T>::k_chunk / 2, rows = TypeTraits<T>::tile_rows;
    static_assert(k % MAX_EXACT_K == 0 || k < MAX_EXACT_K, "whole int32 sums");
    const AlignedBuffer<T> x(rows * k), w(k * BLOCK);
    const AlignedBuffer<float> sums(rows * BLOCK), scales(rows), weight_scales(BLOCK);
    const GemmArgs<T> args = {sums.get(), BLOCK, x.get(), k, w.get(), k, {scales.get(), weight_scales.get()},
                              sums.get(), BLOCK, w.get()};
    for (int64_t i = 0; i < repeats; i++) gemm_tile<T, rows, GATES>(args, 0, (const char*)w.get());
    return 2.0 * static_cast<double>(repeats * rows * BLOCK * k);
}
#if ELMO_AMX
template <>
ELMO_ATTR double peak_products<bf16>(int64_t repeats) {
    constexpr int64_t k = AMX_PASS_INPUTS / 2, rows = 2 * AMX_ROWS;
    const AlignedBuffer<bf16> x(rows * k), w(k * HALF_BLOCK);
    const AlignedBuffer<float> sums(rows * HALF_BLOCK);
    const PackedInputs in = {x.get(), AMX_INPUTS, rows * AMX_INPUTS, k / AMX_INPUTS, w.get(), 0};
    const TileScope tiles;
    Prefetcher none = {nullptr, 0};
    configure_tiles(rows);
    for (int64_t i = 0; i < repeats; i++)
        gemm_two_row_tiles({sums.get(), HALF_BLOCK}, in, NO_INPUTS, AMX_ROWS, 0, {sums.get(), HALF_BLOCK}, none);
    return 2.0 * static_cast<double>(repeats * rows * HALF_BLOCK * k);
}
#endif

// The sum of n numbers: reads memory as fast as one thread can.
ELMO_ATTR static double read_memory(const float* x, int64_t n) {
    constexpr int STREAMS = 4;
    VF32 sums[STREAMS];
    ELMO_UNROLLED_FOR (s, STREAMS) sums[s] = set(0.f);
    for (int64_t i = 0; i + STREAMS * LANES <= n; i += STREAMS * LANES) {
        ELMO_UNROLLED_FOR (s, STREAMS) sums[s] = add(sums[s], load(x + i + s * LANES));
    }
    return sum_of_lanes(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
