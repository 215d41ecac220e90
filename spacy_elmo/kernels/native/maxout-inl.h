// A Maxout layer with layer normalization. A row's result does not depend on the other rows.

#if defined(ELMO_MAXOUT_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_MAXOUT_INL_H_
#undef ELMO_MAXOUT_INL_H_
#else
#define ELMO_MAXOUT_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "gemm_amx-inl.h"
#include "packed_model.h"
#include "quantize-inl.h"
#include "simd-inl.h"
#include "target.h"
#include "token_ops-inl.h"

namespace elmo::ELMO_NAMESPACE {

// The largest of the pieces of each lane. It is not finite where one of them is not, which the maximum alone would
// hide.
ELMO_INLINE VF32 max_of_pieces(const VF32 (&p)[PIECES]) {
    return mul_add(add(add(p[0], p[1]), p[2]), set(0.f), max(max(p[0], p[1]), p[2]));
}

// A tile, R rows of a block from row r on: the product, and then the largest of the pieces. y: n outputs of each row.
template <class T, int R>
ELMO_ATTR ELMO_NOINLINE void maxout_tile(const GemmArgs<T>& gemm, int64_t r, float* y, int64_t y_stride, int64_t n,
                                         const char* next) {
    VF32 sums[R][PIECES];
    gemm_registers(sums, gemm, r, next);
    ELMO_UNROLLED_FOR (i, R) store_partial(y + (r + i) * y_stride, max_of_pieces(sums[i]), n);
}

// The largest pieces of all outputs: x (rows, m.row) with its scales -> y (rows, O).
template <class T>
ELMO_ATTR static void maxout_product(const PackedMaxout& m, int64_t n_rows, const T* x, const float* x_scales,
                                     float* y) {
    constexpr int64_t block = PIECES * LANES;
    const int64_t before = (m.K - 1) / TypeTraits<T>::k_chunk * TypeTraits<T>::k_chunk;  // the last chunk is the tile's
    const AlignedBuffer<float> sums(before ? n_rows * block : 0, false);
    const T* w = (const T*)m.weights.get();
    const float *bias = m.bias.get(), *scales = m.type == INT16 ? m.scales.get() : nullptr;
    for (int64_t at = 0; at < m.O; at += LANES, bias += block) {
        const T* next = w + m.K * block;
        const QuantScales quant = {x_scales, scales ? scales + at * PIECES : nullptr};
        GemmArgs<T> gemm = {bias, 0, x, m.row, w, before, quant, sums.get(), block, w + before * block};
        if (before) {
            gemm_block<T, PIECES>(gemm, n_rows);
            gemm.init = sums.get();
            gemm.init_stride = block;
        }
        gemm.x += before;
        gemm.weights += before * block;
        gemm.k = m.K - before;
#define ELMO_MAXOUT_TILE(R) maxout_tile<T, R>(gemm, r, y + at, m.O, m.O - at, next_share<PIECES>(next, gemm.k, r))
        ELMO_FOR_ROW_TILES(n_rows, (tile_rows_for<T, PIECES>()), ELMO_MAXOUT_TILE)
#undef ELMO_MAXOUT_TILE
        w = next;
    }
}

#if ELMO_AMX
template <>
ELMO_ATTR void maxout_product<bf16>(const PackedMaxout& m, int64_t n_rows, const bf16* x, const float*, float* y) {
    const int64_t row = tiled_registers(m, LANES) * LANES;
    const AlignedBuffer<float> sums((n_rows + MAX_SPARE_ROWS) * row, false);
    const bf16* w = (const bf16*)m.weights.get();
    const TileScope tiles;
    for (int64_t at = 0; at < row; at += BLOCK, w += m.K * BLOCK)
        gemm_block_amx({nullptr, 0}, {x, m.row, AMX_INPUTS, m.K / AMX_INPUTS, w, m.K * HALF_BLOCK}, NO_INPUTS,
                       w + m.K * BLOCK, {sums.get() + at, row}, n_rows);
    for (int64_t r = 0; r < n_rows; r++, y += m.O) {
        const float *from = sums.get() + r * row, *bias = m.bias.get();
        for (int64_t at = 0; at < m.O; at += LANES, from += PIECES * LANES, bias += PIECES * LANES) {
            VF32 pieces[PIECES];
            for (int64_t p = 0; p < PIECES; p++) pieces[p] = add(load(from + p * LANES), load(bias + p * LANES));
            store_partial(y + at, max_of_pieces(pieces), m.O - at);
        }
    }
}
#endif

// Concatenate the parts of rows, fill them up with zeros, and convert them -> to (rows, m.row), and their scales.
template <class T>
ELMO_ATTR static void convert_parts(const PackedMaxout& m, int64_t n_rows, const std::vector<RowPart>& parts, T* to,
                                    float* scales) {
    const AlignedBuffer<float> row(m.row);
    for (int64_t r = 0; r < n_rows; r++, to += m.row) {
        float* at = row.get();
        for (const RowPart& part : parts) {
            memcpy(at, part.rows[r], part.width * sizeof(float));
            at += part.width;
        }
        quantize_row(to, row.get(), m.K, scales + r);
    }
}

// Rows of I numbers, in parts -> y (rows, O).
template <class T>
ELMO_ATTR static void maxout(const PackedMaxout& m, int64_t n_rows, const std::vector<RowPart>& parts, float* y) {
    const AlignedBuffer<T> inputs((n_rows + TypeTraits<T>::spare_rows) * m.row, false);
    const AlignedBuffer<float> scales(n_rows, false);
    convert_parts(m, n_rows, parts, inputs.get(), scales.get());
    maxout_product<T>(m, n_rows, inputs.get(), scales.get(), y);
    for (int64_t r = 0; m.normalizes && r < n_rows; r++, y += m.O) {
        const Moments found = moments(y, m.O, m.epsilon);
        const VF32 scale = set(found.scale), mean = set(found.mean);
        for (int64_t i = 0; i < m.O; i += LANES) {
            const VF32 normal = mul(sub(load_partial(y + i, m.O - i), mean), scale);
            store_partial(y + i, mul_add(normal, load(m.gain.get() + i), load(m.shift.get() + i)), m.O - i);
        }
    }
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
