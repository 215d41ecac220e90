// The products and cells of one step of an LSTM layer, block by block. AMX replaces them: lstm_amx-inl.h.
//
// A gate's sum runs over the inputs first, then over the state. How many steps share a pass over the weights of the
// inputs is therefore free, and changes no bit of any row.

#if defined(ELMO_LSTM_BLOCKS_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_BLOCKS_INL_H_
#undef ELMO_LSTM_BLOCKS_INL_H_
#else
#define ELMO_LSTM_BLOCKS_INL_H_
#endif

#include <cstdint>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "direction_state-inl.h"
#include "gemm-inl.h"
#include "lstm_cell-inl.h"
#include "packed_model.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

// LANES cells of some rows. m: inputs of the projection; y: states, where there is no projection, else null; `stride`
// numbers from one row of either to the next.
template <class T>
struct CellArgs {
    float* c;
    T* m;
    float* y;
    int64_t stride;
    float clip;
};

// One row's step of LANES cells.
template <class T>
ELMO_INLINE void lstm_cell_row(const VF32* gates, float* c, T* m, float* y, float clip) {
    VF32 state = load(c), out = lstm_cell<T>(gates, &state, clip);
    store(c, state);
    if (y) store(y, out);
    else store_converted(m, out);
}

// A tile, R rows of a block from row r on: the product, and then the cells.
template <class T, int R>
ELMO_ATTR ELMO_NOINLINE void lstm_tile(const GemmArgs<T>& gemm, const CellArgs<T>& cells, int64_t r, const char* next) {
    VF32 sums[R][GATES];
    gemm_registers(sums, gemm, r, next);
    // Through memory: with all sums in registers there are none left to overlap the cells of several rows.
    alignas(CACHE_LINE) float stored[R * BLOCK];
    store_sums(sums, stored, BLOCK);
    float* c = cells.c + r * LANES;
    T* m = cells.m + r * cells.stride;
    float* y = cells.y ? cells.y + r * cells.stride : nullptr;
    for (int i = 0; i < R; i++) {
        const float* at = stored + i * BLOCK;
        const VF32 gates[GATES] = {load(at), load(at + LANES), load(at + 2 * LANES), load(at + 3 * LANES)};
        lstm_cell_row(gates, c + i * LANES, m + i * cells.stride, y ? y + i * cells.stride : nullptr, cells.clip);
    }
}

// Scales of the projection's inputs in int16. These lie between -1 and 1; a row whose input or state is not finite gets
// a NaN.
template <class T>
static void set_m_scales(DirectionState<T>& d, int64_t t) {
    const float *inputs = d.input_scales.get() + d.offsets[t], *states = d.h_scales.get();
    for (int64_t row = 0; row < d.batch_sizes[t]; row++)
        d.m_scales.get()[row] = 1 + 0 * inputs[row] + (t ? 0 * states[row] : 0);
}

// Block number i of n at step t. Every other step goes backwards: the blocks that the step before read last are still
// in the cache.
inline int64_t serpentine(int64_t i, int64_t n, int64_t t) { return t % 2 ? n - 1 - i : i; }

// Weight scales of block j; null where there are none.
inline const float* scales_of_block(const float* scales, int64_t j) { return scales ? scales + j * BLOCK : nullptr; }

// A packed layer as arrays of T.
template <class T>
struct LayerView {
    int64_t n_blocks;
    const T *inputs, *states;  // weights of the gates
    const float *input_scales, *state_scales, *projection_scales;
    LayerView(const PackedModel& model, const PackedLayer& layer)
        : n_blocks((model.H + LANES - 1) / LANES),
          inputs((const T*)layer.gates.get()),
          states(inputs + n_blocks * model.K * BLOCK),
          input_scales(model.type == INT16 ? layer.scales.get() : nullptr),
          state_scales(scales_of_block(input_scales, n_blocks)),
          projection_scales(scales_of_block(state_scales, n_blocks)) {}
};

// The weights of a block of gates, for the inputs or for the state.
template <class T>
ELMO_ATTR static const T* block_weights(const DirectionState<T>& d, const PackedLayer& layer, int64_t block,
                                        bool state) {
    const LayerView<T> view(d.model, layer);
    return (state ? view.states : view.inputs) + block * d.model.K * BLOCK;
}

// Sums of block j over the inputs x of several steps, n rows with their scales.
template <class T>
ELMO_ATTR static void input_product(DirectionState<T>& d, const PackedLayer& layer, int64_t j, const T* x,
                                    const float* x_scales, int64_t n, float* out) {
    const LayerView<T> view(d.model, layer);
    const T* w = block_weights<T>(d, layer, j, false);
    gemm_block<T>({layer.bias.get() + j * BLOCK,
                   0,
                   x,
                   d.model.P_row,
                   w,
                   d.model.K,
                   {x_scales, scales_of_block(view.input_scales, j)},
                   out,
                   BLOCK,
                   w + d.model.K * BLOCK},
                  n);
}

// The operands of one step of a block of cells. x: the inputs; null: `sums` has the sums over them. scratch: room for
// the sums of this step. next: weights that are wanted next.
template <class T>
struct StepArgs {
    int64_t t;
    const T* x;
    float* sums;
    float* scratch;
    const T* next;
};

// Step s.t of the cells of block j.
template <class T>
ELMO_ATTR static void lstm_block(DirectionState<T>& d, const PackedLayer& layer, int64_t j, const StepArgs<T>& s) {
    const PackedModel& model = d.model;
    const LayerView<T> view(model, layer);
    const int64_t n = d.batch_sizes[s.t], k = s.t ? model.K : 0;
    const T *w_input = block_weights<T>(d, layer, j, false), *w_state = block_weights<T>(d, layer, j, true);
    float* sums = s.sums;
    if (s.x) {
        sums = s.scratch;
        gemm_block<T>({layer.bias.get() + j * BLOCK,
                       0,
                       s.x,
                       model.P_row,
                       w_input,
                       model.K,
                       {d.input_scales.get() + d.offsets[s.t], scales_of_block(view.input_scales, j)},
                       sums,
                       BLOCK,
                       w_state},
                      n);
    }
    // The last chunk of the state's product ends in the cells; the chunks before it add to the sums.
    const int64_t before = k ? (k - 1) / TypeTraits<T>::k_chunk * TypeTraits<T>::k_chunk : 0;
    GemmArgs<T> gemm = {sums,
                        BLOCK,
                        d.h.get(),
                        model.P_row,
                        w_state,
                        before,
                        {d.h_scales.get(), scales_of_block(view.state_scales, j)},
                        sums,
                        BLOCK,
                        w_state + before * BLOCK};
    if (before) gemm_block<T>(gemm, n);
    gemm.x += before;
    gemm.weights += before * BLOCK;
    gemm.k = k - before;
    const CellArgs<T> cells = {d.c_of(j), d.m.get() + (model.projects ? j * LANES : 0),
                               model.projects ? nullptr : d.y.get() + j * LANES, model.H_row, model.cell_clip};
#define ELMO_LSTM_TILE(R) lstm_tile<T, R>(gemm, cells, r, next_share<GATES>(s.next, gemm.k, r))
    ELMO_FOR_ROW_TILES(n, (tile_rows_for<T, GATES>()), ELMO_LSTM_TILE)
#undef ELMO_LSTM_TILE
}

// Block j of the projection of step t, by its weights w. next: weights that are wanted next.
template <class T>
ELMO_ATTR static void projection_block(DirectionState<T>& d, const PackedLayer& layer, int64_t j, const T* w,
                                       const T* next, int64_t t) {
    const PackedModel& model = d.model;
    const LayerView<T> view(model, layer);
    static const float zeros[BLOCK] = {};
    gemm_block<T>({zeros,
                   0,
                   d.m.get(),
                   model.H_row,
                   w,
                   model.M,
                   {d.m_scales.get(), scales_of_block(view.projection_scales, j)},
                   d.y.get() + j * BLOCK,
                   model.P_row,
                   next},
                  d.batch_sizes[t]);
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
