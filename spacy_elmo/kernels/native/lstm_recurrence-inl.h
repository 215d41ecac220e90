// The recurrent part of an LSTM layer of one direction, of float32, for sequences that are packed step by step.
//
// Step t has batch_sizes[t] rows, from row offsets[t] on; its row r continues row r of the step before. Rows depend on
// no other rows, so each thread takes its share of them through all steps.

#if defined(ELMO_LSTM_RECURRENCE_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_RECURRENCE_INL_H_
#undef ELMO_LSTM_RECURRENCE_INL_H_
#else
#define ELMO_LSTM_RECURRENCE_INL_H_
#endif

#include <cstdint>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "lstm_backward-inl.h"
#include "lstm_training-inl.h"
#include "packed_operands-inl.h"
#include "parallel_for.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

// The caller's arrays, by step. H: cells.
struct Recurrence {
    const LSTMRecurrenceArgs& a;
    int64_t n_steps, H, n_blocks;
    std::vector<int64_t> offsets;  // (T + 1,)
    explicit Recurrence(const LSTMRecurrenceArgs& args)
        : a(args), n_steps(args.n_steps), H(args.hidden_size), n_blocks((H + LANES - 1) / LANES), offsets(1, 0) {
        for (int64_t t = 0; t < n_steps; t++) offsets.push_back(offsets.back() + a.batch_sizes[t]);
    }
    float* gates(int64_t t, int64_t row) const { return a.gates + (offsets[t] + row) * GATES * H; }
    float* c(int64_t t, int64_t row) const { return a.c + (offsets[t] + row) * H; }
    float* m(int64_t t, int64_t row) const { return a.m + (offsets[t] + row) * H; }
    // Rows first..last of step t: how many of them it has; 0 after the last step.
    int64_t rows_of(int64_t t, int64_t first, int64_t last) const {
        return t < n_steps ? max_of(0, min_of(last, a.batch_sizes[t]) - first) : 0;
    }
    // Cells of a block that exist.
    int64_t width(int64_t block) const { return min_of(LANES, H - block * LANES); }
};

// Forward, rows first..last. w_hh: (H, 4H), its outputs in blocks of LANES cells.
ELMO_ATTR static void recurrence_forward_rows(const Recurrence& l, PackedRhs<float> w_hh, int64_t first, int64_t last) {
    const int64_t max_rows = last - first, H = l.H;
    const AlignedBuffer<float> sums(max_rows * BLOCK, false), c_prev(max_rows * LANES, false);
    const AlignedBuffer<float> c(max_rows * LANES, false), m(max_rows * LANES, false), bias(BLOCK);
    for (int64_t t = 0; t < l.n_steps; t++) {
        const int64_t n = l.rows_of(t, first, last);
        if (!n) break;  // later steps have no more rows
        for (int64_t j = 0; j < l.n_blocks; j++) {
            const int64_t cell = j * LANES, width = l.width(j);
            for (int64_t r = 0; r < n; r++) {
                const float* from = l.gates(t, first + r) + cell;
                for (int64_t k = 0; k < GATES; k++)
                    convert_row(sums.get() + r * BLOCK + k * LANES, from + k * H, width, LANES);
                if (t) convert_row(c_prev.get() + r * LANES, l.c(t - 1, first + r) + cell, width, LANES);
            }
            if (t)
                multiply(PackedLhs<float>::row_major(l.m(t - 1, first), H), n, w_hh, 0, H, j * BLOCK,
                         {sums.get(), BLOCK, true});
            forward_cells(n, sums.get(), bias.get(), t ? c_prev.get() : nullptr, sums.get(), c.get(), m.get(), LANES);
            for (int64_t r = 0; r < n; r++) {
                float* to = l.gates(t, first + r) + cell;
                for (int64_t k = 0; k < GATES; k++)
                    convert_row(to + k * H, sums.get() + r * BLOCK + k * LANES, width, width);
                convert_row(l.c(t, first + r) + cell, c.get() + r * LANES, width, width);
                convert_row(l.m(t, first + r) + cell, m.get() + r * LANES, width, width);
            }
        }
    }
}

// Backward, rows first..last. w_hh: (4H, H).
ELMO_ATTR static void recurrence_backward_rows(const Recurrence& l, PackedRhs<float> w_hh, int64_t first,
                                               int64_t last) {
    const int64_t H = l.H, d_c_row = l.n_blocks * LANES;
    const AlignedBuffer<float> product((last - first) * BLOCK, false), d_c((last - first) * d_c_row);
    for (int64_t t = l.n_steps - 1; t >= 0; t--) {
        const int64_t n = l.rows_of(t, first, last), n_following = l.rows_of(t + 1, first, last);
        for (int64_t o = 0; n_following && o < H; o += BLOCK) {
            multiply(PackedLhs<float>::row_major(l.gates(t + 1, first), GATES * H), n_following, w_hh, 0, GATES * H, o,
                     {product.get(), BLOCK, false});
            for (int64_t r = 0; r < n_following; r++) {
                float* to = l.m(t, first + r) + o;
                for (int64_t i = 0; i < min_of(BLOCK, H - o); i++) to[i] += product.get()[r * BLOCK + i];
            }
        }
        for (int64_t r = 0; r < n; r++)
            for (int64_t j = 0; j < l.n_blocks; j++) {
                const int64_t cell = j * LANES, width = l.width(j);
                float gates[BLOCK], c_prev[LANES], c[LANES], d_m[LANES];
                float* sums = l.gates(t, first + r) + cell;
                for (int64_t k = 0; k < GATES; k++) convert_row(gates + k * LANES, sums + k * H, width, LANES);
                if (t) convert_row(c_prev, l.c(t - 1, first + r) + cell, width, LANES);
                convert_row(c, l.c(t, first + r) + cell, width, LANES);
                convert_row(d_m, l.m(t, first + r) + cell, width, LANES);
                VF32 d[GATES];
                backward_cell(gates, t ? c_prev : nullptr, c, d_m, d_c.get() + r * d_c_row + cell, d);
                for (int64_t k = 0; k < GATES; k++) {
                    store(gates + k * LANES, d[k]);
                    convert_row(sums + k * H, gates + k * LANES, width, width);
                }
            }
    }
}

ELMO_ATTR static Status lstm_recurrence_forward(const LSTMRecurrenceArgs& a) {
    if (!a.n_steps) return OK;
    const Recurrence l(a);
    const AlignedBuffer<float> packed(PackedRhs<float>::size(l.H, l.n_blocks * BLOCK));
    const PackedRhs<float> w_hh{packed.get(), l.H};
    const auto row_of = [&](int64_t o) {
        const int64_t cell = o / BLOCK * LANES + o % LANES, gate = o % BLOCK / LANES;
        return cell < l.H ? a.w_hh + (gate * l.H + cell) * l.H : nullptr;
    };
    pack_output_rows(row_of, l.n_blocks * BLOCK, l.H, w_hh);
    const std::vector<int64_t> cuts = thread_rows(a.batch_sizes[0], a.n_threads);
    return parallel_for(a.n_threads, static_cast<int64_t>(cuts.size()) - 1,
                        [&](int64_t i) { recurrence_forward_rows(l, w_hh, cuts[i], cuts[i + 1]); });
}

ELMO_ATTR static Status lstm_recurrence_backward(const LSTMRecurrenceArgs& a) {
    if (!a.n_steps) return OK;
    const Recurrence l(a);
    const AlignedBuffer<float> packed(PackedRhs<float>::size(GATES * l.H, l.H));
    const PackedRhs<float> w_hh{packed.get(), GATES * l.H};
    pack_input_rows([&](int64_t k) { return a.w_hh + k * l.H; }, l.H, w_hh);
    const std::vector<int64_t> cuts = thread_rows(a.batch_sizes[0], a.n_threads);
    return parallel_for(a.n_threads, static_cast<int64_t>(cuts.size()) - 1,
                        [&](int64_t i) { recurrence_backward_rows(l, w_hh, cuts[i], cuts[i + 1]); });
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
