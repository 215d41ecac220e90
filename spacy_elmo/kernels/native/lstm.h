// One direction of a biLM over a packed batch. Included once for each instruction set, behind direction.h.
//
// A gate's sum runs over the input first, then over the state: how many steps share a pass over the input's
// weights is free, and changes no bit of any row.

// A row's step of LANES cells. m: what goes into the projection; or y, where there is none, is the state.
template <class T>
INLINE void step_row(const V* gates, float* c, T* m, float* y, float clip) {
    V state = load(c), out = step<T>(gates, &state, clip);
    store(c, state);
    if (y) store(y, out);
    else store_as(m, out);
}

// R rows of a block: the rest of their sums, and then the step. m, y: as above.
template <class T, int R>
TARGET NOINLINE void step_tile(
    const float* from, long from_row, const T* x, long x_row, const T* w, long k, Scales by,
    float* c, T* m, float* y, long H_row, float clip, const char* next) {
    V acc[R][GATES];
    sums_of(acc, from, from_row, x, x_row, w, k, by, next);
    // By way of memory: with all sums in registers there are none left to overlap the steps of rows.
    alignas(CACHE_LINE) float sums[R * GATES * LANES];
    store_sums(acc, sums, GATES * LANES);
    for (int r = 0; r < R; r++) {
        const float* of = sums + r * GATES * LANES;
        const V gates[GATES] = {load(of), load(of + LANES), load(of + 2 * LANES), load(of + 3 * LANES)};
        step_row(gates, c + r * LANES, m + r * H_row, y ? y + r * H_row : nullptr, clip);
    }
}

// What goes into the projection lies between -1 and 1. Where its row's input or state is damaged, so is its scale.
template <class T>
static void scale_m(Direction<T>& d, long t) {
    const float *by_input = d.by_input.get() + d.offsets[t], *by_h = d.by_h.get();
    for (long row = 0; row < d.sizes[t]; row++) d.by_m.get()[row] = 1 + 0 * by_input[row] + (t ? 0 * by_h[row] : 0);
}

// Every other step reads its blocks of weights backwards: what the step before has read last is still near then.
static inline long turn(long i, long n, long t) { return t % 2 ? n - 1 - i : i; }

// Scales of the weights of block j; null where there are none.
static inline const float* of_block(const float* scales, long j) { return scales ? scales + j * GATES * LANES : nullptr; }

// Weights of a layer, and their scales.
template <class T>
struct Packed {
    long blocks, row;         // row: GATES * V
    const T *gates, *states;
    const float *scales, *state_scales, *project_scales;
    Packed(const Model& model, const Layer& layer)
        : blocks((model.H + LANES - 1) / LANES), row(GATES * LANES), gates((const T*)layer.gates.get()),
          states(gates + blocks * model.K * row),
          scales(model.type == INT16 ? layer.scales.get() : nullptr), state_scales(of_block(scales, blocks)),
          project_scales(of_block(state_scales, blocks)) {}
};

// Where the weights of a block of gates begin, or those of its state.
template <class T>
TARGET static const T* weights_of(const Direction<T>& d, const Layer& layer, long block, bool state) {
    const Packed<T> p(d.model, layer);
    return (state ? p.states : p.gates) + block * d.model.K * p.row;
}

// Sums of block j over the inputs x of several steps: rows, and their scales.
template <class T>
TARGET static void sum_inputs(Direction<T>& d, const Layer& layer, long j, const T* x, const float* by, long rows, float* to) {
    const Packed<T> p(d.model, layer);
    const T* w = weights_of<T>(d, layer, j, false);
    sum_rows<T>(layer.bias.get() + j * p.row, 0, x, d.model.P_row, w, d.model.K, {by, of_block(p.scales, j)},
                w + d.model.K * p.row, to, p.row, rows);
}

// Step t of the cells of block j, from its inputs x on, or where there are none from the sums over them. next: weights
// that are wanted after these.
template <class T>
TARGET static void step_block(Direction<T>& d, const Layer& layer, long j, const T* next, const T* x, float* sums,
                              float* scratch, long t) {
    const Model& model = d.model;
    const Packed<T> p(model, layer);
    const long row = p.row, b = d.sizes[t], k = t ? model.K : 0;
    const T *input = weights_of<T>(d, layer, j, false), *state = weights_of<T>(d, layer, j, true);
    if (x) {
        sums = scratch;
        const Scales by = {d.by_input.get() + d.offsets[t], of_block(p.scales, j)};
        sum_rows<T>(layer.bias.get() + j * row, 0, x, model.P_row, input, model.K, by, state, sums, row, b);
    }
    const long last = k ? (k - 1) / Size<T>::segment * Size<T>::segment : 0;
    const Scales by = {d.by_h.get(), of_block(p.state_scales, j)};
    const T* h = d.h.get();
    if (last) sum_rows<T>(sums, row, h, model.P_row, state, last, by, state + last * row, sums, row, b);
    float* c = d.c_of(j);
    T* m = d.m.get() + (model.projects ? j * LANES : 0);
    float* y = model.projects ? nullptr : d.y.get() + j * LANES;
#define TILE(R) step_tile<T, R>(sums + r * row, row, h + r * model.P_row + last, model.P_row, state + last * row, \
                                k - last, scales_at(by, r), c + r * LANES, m + r * model.H_row,                   \
                                y ? y + r * model.H_row : nullptr, model.H_row, model.cell_clip,                  \
                                next_weights<GATES>(next, k - last, r))
    IN_TILES(b, (rows_for<T, GATES>()), TILE)
#undef TILE
}

// Block j of the projection of step t, by its weights w. next: weights that are wanted after these.
template <class T>
TARGET static void project_block(Direction<T>& d, const Layer& layer, long j, const T* w, const T* next, long t) {
    const Model& model = d.model;
    const Packed<T> p(model, layer);
    static const float zeros[GATES * 16] = {};
    sum_rows<T>(zeros, 0, d.m.get(), model.H_row, w, model.M, {d.by_m.get(), of_block(p.project_scales, j)}, next,
                d.y.get() + j * p.row, model.P_row, d.sizes[t]);
}

#ifdef NATIVE_AMX
#include "lstm_tiles.h"
#endif

// Blocks first..last of the projection of step t. next: weights that are wanted after these.
template <class T>
TARGET static void project(Direction<T>& d, const Layer& layer, const T* next, long t, long first, long last) {
    const long n = last - first, size = d.model.M * GATES * LANES;
    const T* weights = (const T*)layer.project.get();
    for (long i = 0; i < n; i++) {
        const long j = first + turn(i, n, t);
        const T* after = i + 1 < n ? weights + (first + turn(i + 1, n, t)) * size : next;
        project_block<T>(d, layer, j, weights + j * size, after, t);
    }
}

// The share of one of a team's threads, number `me`. No bit depends on how blocks are shared.
template <class T>
TARGET static void run_layer(Direction<T>& d, long number, LockstepTeam& team, long me) {
    const Model& model = d.model;
    const Layer& layer = model.directions[d.task.side][number];
    const long row = GATES * LANES, blocks = (model.H + LANES - 1) / LANES;
    const long own_first = team.share_begin(blocks, me), own_last = team.share_begin(blocks, me + 1), n = own_last - own_first;
    const long outputs = model.P_row / row;  // blocks of the projection
    const long out_first = team.share_begin(outputs, me), out_last = team.share_begin(outputs, me + 1);
    T* inputs = as_inputs(d.current.get(), d.inputs.get());
    float *sums = d.sums.get(), *scratch = d.scratch.get() + me * (d.task.rows + d.SPARE) * row;
    memset(d.c_of(own_first), 0, n * d.task.rows * LANES * sizeof(float));
    for (long begin = 0, end; begin < d.steps; begin = end) {
        end = begin + 1;
        while (end < d.steps && d.offsets[end + 1] - d.offsets[begin] <= WINDOW) end++;
        const long rows = d.offsets[end] - d.offsets[begin], block_rows = rows + d.SPARE;
        const bool window = end > begin + 1;  // else a block's weights serve input and state while they are hot
        const T* x = inputs + d.offsets[begin] * model.P_row;
        for (long j = own_first; window && j < own_last; j++)
            sum_inputs<T>(d, layer, j, x, d.by_input.get() + d.offsets[begin], rows, sums + j * block_rows * row);
        for (long t = begin; t < end; t++) {
            for (long i = 0; i < n; i++) {
                const long j = own_first + turn(i, n, t), place = j * block_rows + d.offsets[t] - d.offsets[begin];
                const T* next = i + 1 < n ? weights_of<T>(d, layer, own_first + turn(i + 1, n, t), window)
                                : model.projects ? (const T*)layer.project.get()
                                                 : weights_of<T>(d, layer, j, window);
                step_block<T>(d, layer, j, next, window ? nullptr : x, window ? sums + place * row : nullptr, scratch, t);
            }
            if (model.projects) {
                if (team.arrive_and_wait(me)) {
                    if (model.type == INT16) scale_m(d, t);
                    team.release();
                }
                const T* next = weights_of<T>(d, layer, own_first + turn(0, n, t + 1), window);
                project<T>(d, layer, next, t, out_first, out_last);
            }
            if (!team.arrive_and_wait(me)) continue;
            finish<T>(d, number, t);
            if (!t) share_first(d);
            team.release();
        }
    }
}

template <class T>
TARGET static void run_as(const Task& task) {
    Direction<T> d(task);
    embed<T>(d);
    LockstepTeam team;
    team.run(task.team, [&](long me) {
        Tiles tiles;
        for (long number = 0; number < d.model.layers; number++) run_layer<T>(d, number, team, me);
    });
}

static void run(const Task& task) {
    switch (task.model->type) {
        case FLOAT32: run_as<float>(task); break;
        case BFLOAT16: run_as<bf16>(task); break;
        case INT16: run_as<int16_t>(task); break;
    }
}
