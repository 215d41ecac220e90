// One direction of a biLM over a packed batch: its layers, step by step.

#if defined(ELMO_LSTM_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_INL_H_
#undef ELMO_LSTM_INL_H_
#else
#define ELMO_LSTM_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "direction_state-inl.h"
#include "gemm-inl.h"
#include "gemm_amx-inl.h"
#include "lockstep_team.h"
#include "lstm_amx-inl.h"
#include "lstm_blocks-inl.h"
#include "packed_model.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

// Blocks first..last of the projection of step t. next: weights that are wanted next.
template <class T>
ELMO_ATTR static void projection(DirectionState<T>& d, const PackedLayer& layer, const T* next, int64_t t,
                                 int64_t first, int64_t last) {
    const int64_t n = last - first, size = d.model.M * BLOCK;
    const T* weights = (const T*)layer.projection.get();
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = first + serpentine(i, n, t);
        const T* after = i + 1 < n ? weights + (first + serpentine(i + 1, n, t)) * size : next;
        projection_block<T>(d, layer, j, weights + j * size, after, t);
    }
}

// One layer: the share of one thread of a team. No bit depends on how blocks are shared.
//
// Steps that have at most MAX_SHARED_ROWS rows together share a pass over the weights of the inputs. A step that fills
// it alone does inputs and state of a block one after the other, while the block's sums are in the cache.
template <class T>
ELMO_ATTR static void run_layer(DirectionState<T>& d, int64_t number, LockstepTeam& team, int64_t thread) {
    const PackedModel& model = d.model;
    const PackedLayer& layer = model.directions[d.args.direction][number];
    const int64_t n_blocks = (model.H + LANES - 1) / LANES, n_outputs = model.P_row / BLOCK;
    const int64_t first = team.share_begin(n_blocks, thread), last = team.share_begin(n_blocks, thread + 1);
    const int64_t out_first = team.share_begin(n_outputs, thread), out_last = team.share_begin(n_outputs, thread + 1);
    const int64_t n = last - first;
    const T* inputs = d.gemm_inputs();
    float *sums = d.input_sums.get(), *scratch = d.scratch.get() + thread * (d.args.n_sentences + d.SPARE) * BLOCK;
    memset(d.c_of(first), 0, n * d.args.n_sentences * LANES * sizeof(float));
    for (int64_t begin = 0, end; begin < d.n_steps; begin = end) {
        end = begin + 1;
        while (end < d.n_steps && d.offsets[end + 1] - d.offsets[begin] <= MAX_SHARED_ROWS) end++;
        const int64_t rows = d.offsets[end] - d.offsets[begin], block_rows = rows + d.SPARE;
        const bool shared = end > begin + 1;
        const T* x = inputs + d.offsets[begin] * model.P_row;
        for (int64_t j = first; shared && j < last; j++)
            input_product<T>(d, layer, j, x, d.input_scales.get() + d.offsets[begin], rows,
                             sums + j * block_rows * BLOCK);
        for (int64_t t = begin; t < end; t++) {
            for (int64_t i = 0; i < n; i++) {
                const int64_t j = first + serpentine(i, n, t);
                const int64_t row = j * block_rows + d.offsets[t] - d.offsets[begin];
                const T* next = i + 1 < n        ? block_weights<T>(d, layer, first + serpentine(i + 1, n, t), shared)
                                : model.projects ? (const T*)layer.projection.get()
                                                 : block_weights<T>(d, layer, j, shared);
                lstm_block<T>(d, layer, j,
                              {t, shared ? nullptr : x, shared ? sums + row * BLOCK : nullptr, scratch, next});
            }
            if (model.projects) {
                if (team.arrive_and_wait(thread)) {
                    if (model.type == INT16) set_m_scales(d, t);
                    team.release();
                }
                const T* next = block_weights<T>(d, layer, first + serpentine(0, n, t + 1), shared);
                projection<T>(d, layer, next, t, out_first, out_last);
            }
            if (!team.arrive_and_wait(thread)) continue;
            finish_step<T>(d, number, t);
            if (!t) broadcast_first_step(d);
            team.release();
        }
    }
}

template <class T>
ELMO_ATTR static void run_direction_as(const DirectionArgs& args) {
    DirectionState<T> d(args);
    embed<T>(d);
    LockstepTeam team;
    team.run(args.team_size, [&](int64_t thread) {
        const TileScope tiles;
        for (int64_t number = 0; number < d.model.n_layers; number++) run_layer<T>(d, number, team, thread);
    });
}

static void run_direction(const DirectionArgs& args) {
    switch (args.model->type) {
        case FLOAT32: run_direction_as<float>(args); break;
        case BFLOAT16: run_direction_as<bf16>(args); break;
        case INT16: run_direction_as<int16_t>(args); break;
    }
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
