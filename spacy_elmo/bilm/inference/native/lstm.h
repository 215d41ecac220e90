// One direction of a biLM over a packed batch. Included once for each instruction set, behind cell.h.
//
// A gate's sum runs over the input first, then over the state: how many steps share a pass over the input's
// weights is free, and changes no bit of any row.

// R rows of a block: the rest of their sums, and then the step. m: what goes into the projection; or y, where there is
// none, is the state.
template <class T, int R>
TARGET NOINLINE void step_tile(
    const float* from, long from_row, const T* x, long x_row, const T* w, long k, Scales by,
    float* c, T* m, float* y, long H_row, float clip, const char* next) {
    V acc[R][GATES];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < GATES; g++) acc[r][g] = load(from + r * from_row + g * LANES);
    multiply<R>(acc, x, x_row, w, k, by, next);
    // By way of memory: with all sums in registers there are none left to overlap the steps of rows.
    alignas(LINE) float sums[R * GATES * LANES];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < GATES; g++) store(sums + (r * GATES + g) * LANES, acc[r][g]);
    for (int r = 0; r < R; r++) {
        const float* of = sums + r * GATES * LANES;
        const V gates[GATES] = {load(of), load(of + LANES), load(of + 2 * LANES), load(of + 3 * LANES)};
        V state = load(c + r * LANES), out = step<T>(gates, &state, clip);
        store(c + r * LANES, state);
        if (y) store(y + r * H_row, out);
        else store_as(m + r * H_row, out);
    }
}

constexpr long WINDOW = 64;  // rows of the input product that share a pass over the weights

template <class T>
struct Direction {
    const Model& model;
    const Task& task;
    long steps, units;           // T, N
    std::vector<long> sizes;     // (T,) rows of each step
    std::vector<long> offsets;   // (T + 1,) of a step's first row among the N
    Buffer<float> current;       // (N, P_row) the layer's input, then its output
    Buffer<T> inputs;            // (N, P_row) the same as T, where that is another type
    Buffer<float> c, y;          // (H_row / V, B, V) cell state; (B, H_row or P_row) state before its clip
    Buffer<T> m, h;              // (B, H_row) before the projection, see m_at; (B, P_row) state
    Buffer<float> by_input, by_m, by_h;  // (N,), (B,), (B,) of int16, see Scales
    Buffer<float> sums;          // of the input product: a window of all blocks
    Buffer<float> scratch;       // sums of a block, for each thread
    static constexpr long SPARE = Size<T>::spare;
    explicit Direction(const Task& t);
    float* c_of(long block) const { return c.get() + block * task.rows * LANES; }
};

// Nobody reads what comes of the last boundary, so the last step is that of the last unit. The first boundary
// makes of all rows the same: one goes through the first step for all.
static std::vector<long> sizes_of(const Task& t) {
    std::vector<long> sizes(t.lengths[0] - 1, 1);
    long b = t.rows;
    for (long i = 1; i < t.lengths[0] - 1; sizes[i++] = b)
        while (t.lengths[b - 1] - 1 <= i) b--;
    return sizes;
}

static std::vector<long> offsets_of(const std::vector<long>& sizes) {
    std::vector<long> offsets(1, 0);
    for (long b : sizes) offsets.push_back(offsets.back() + b);
    return offsets;
}

template <class T>
Direction<T>::Direction(const Task& t)
    : model(*t.model), task(t), steps(t.lengths[0] - 1), units(0), sizes(sizes_of(t)), offsets(offsets_of(sizes)),
      current(offsets.back() * t.model->P_row),
      inputs(sizeof(T) == 4 ? 0 : (offsets.back() + SPARE) * t.model->P_row),
      c(t.rows * t.model->H_row), y((t.rows + SPARE) * (t.model->projects ? t.model->P_row : t.model->H_row)),
      m(t.model->projects ? (t.rows + SPARE) * t.model->H_row : 0), h((t.rows + SPARE) * t.model->P_row),
      by_input(offsets.back()), by_m(t.rows), by_h(t.rows),
      sums((WINDOW + SPARE) * (t.model->H_row / LANES) * GATES * LANES, false),
      scratch((t.rows + SPARE) * t.team * GATES * LANES, false) {
    units = offsets.back();
}

INLINE float* as_inputs(float* current, float*) { return current; }
INLINE bf16* as_inputs(float*, bf16* inputs) { return inputs; }
INLINE int16_t* as_inputs(float*, int16_t* inputs) { return inputs; }

// Where a row of step t stands in its sentence.
INLINE long place(const Task& task, long row, long t) {
    return task.side ? task.lengths[row] - 1 - t : t;
}

// A row of a layer goes where the caller wants it, boundaries left out.
INLINE void write(const Model& model, const Task& task, long layer, long row, long at, const float* from) {
    long n = task.lengths[row] - 2;
    if (at < 1 || at > n) return;
    float* to = task.out[row] + layer * task.layer[row] + ((at - 1) * 2 + task.side) * model.P;
    if (model.type != FLOAT32)
        for (long i = 0; i < model.P; i++) to[i] = as_half(from[i]);
    else memcpy(to, from, model.P * sizeof(float));
}

template <class T>
TARGET static void embed(Direction<T>& d) {
    const Model& model = d.model;
    const Task& task = d.task;
    for (long t = 0; t < d.steps; t++) {
        for (long row = 0; row < d.sizes[t]; row++) {
            long at = place(task, row, t), n = (d.offsets[t] + row) * model.P_row;
            const float* vector = task.vectors + task.ids[row][at] * model.P;
            float* x = d.current.get() + n;
            for (long i = 0; i < model.P; i++) x[i] = vector[i] * task.scale;
            if (sizeof(T) != 4) put(d.inputs.get() + n, x, model.P_row, d.by_input.get() + d.offsets[t] + row);
            write(model, task, 0, row, at, x);
        }
    }
}

// The state of step t: clipped, kept for the next step, and with the skip connection the layer's output.
template <class T>
TARGET static void finish(Direction<T>& d, long layer, long t) {
    const Model& model = d.model;
    const long y_row = model.projects ? model.P_row : model.H_row;
    const V top = set1(model.projection_clip), low = set1(-model.projection_clip);
    for (long row = 0; row < d.sizes[t]; row++) {
        float* y = d.y.get() + row * y_row;
        const long place_of = d.offsets[t] + row, n = place_of * model.P_row;
        float* x = d.current.get() + n;
        for (long i = 0; i < model.P; i += LANES) {
            V state = at_least(at_most(load(y + i), top), low);
            store(y + i, state);
            if (model.skip && layer) state = add(state, load(x + i));
            store(x + i, state);
        }
        put(d.h.get() + row * model.P_row, y, model.P, d.by_h.get() + row);
        if (sizeof(T) != 4) put(d.inputs.get() + n, x, model.P, d.by_input.get() + place_of);
        write(model, d.task, layer + 1, row, place(d.task, row, t), x);
    }
}

// The states of the first row behind the first step, for all rows: they have read the same boundary.
template <class T>
static void share_first(Direction<T>& d) {
    const long H_row = d.model.H_row, P_row = d.model.P_row;
    for (long block = 0; block < H_row / LANES; block++)
        for (long row = 1; row < d.task.rows; row++)
            memcpy(d.c_of(block) + row * LANES, d.c_of(block), LANES * sizeof(float));
    for (long row = 1; row < d.task.rows; row++) {
        memcpy(d.h.get() + row * P_row, d.h.get(), P_row * sizeof(T));
        d.by_h.get()[row] = d.by_h.get()[0];
    }
}

// What goes into the projection lies between -1 and 1. Where its row's input or state is damaged, so is its scale.
template <class T>
static void scale_m(Direction<T>& d, long t) {
    const float *by_input = d.by_input.get() + d.offsets[t], *by_h = d.by_h.get();
    for (long row = 0; row < d.sizes[t]; row++) d.by_m.get()[row] = 1 + 0 * by_input[row] + (t ? 0 * by_h[row] : 0);
}

// Every other step reads its blocks of weights backwards: what the step before has read last is still near then.
INLINE long turn(long i, long n, long t) { return t % 2 ? n - 1 - i : i; }

// Scales of the weights of block j; null where there are none.
static inline const float* of_block(const float* scales, long j) { return scales ? scales + j * GATES * LANES : nullptr; }

// Weights of a layer, and their scales.
template <class T>
struct Packed {
    long blocks, row;         // row: GATES * V
    const T *gates, *states, *project;
    const float *scales, *state_scales, *project_scales;
    Packed(const Model& model, const Layer& layer)
        : blocks((model.H + LANES - 1) / LANES), row(GATES * LANES), gates((const T*)layer.gates.get()),
          states(gates + blocks * model.K * row), project((const T*)layer.project.get()),
          scales(model.type == INT16 ? layer.scales.get() : nullptr), state_scales(of_block(scales, blocks)),
          project_scales(of_block(state_scales, blocks)) {}
};

// Sums of block j over the inputs x of several steps: rows, and their scales.
template <class T>
TARGET static void sum_inputs(Direction<T>& d, const Layer& layer, long j, const T* x, const float* by, long rows, float* to) {
    const Packed<T> p(d.model, layer);
    const T* w = p.gates + j * d.model.K * p.row;
    sum_rows<T>(layer.bias.get() + j * p.row, 0, x, d.model.P_row, w, d.model.K, {by, of_block(p.scales, j)},
                w + d.model.K * p.row, to, p.row, rows);
}

// Step t of the cells of block j, from its inputs x on, or where there are none from the sums over them. after: the block
// that comes next; -1: the projection does. scratch: room for sums of all rows.
template <class T>
TARGET static void step_block(Direction<T>& d, const Layer& layer, long j, long after, const T* x, float* sums,
                              float* scratch, long t) {
    const Model& model = d.model;
    const Packed<T> p(model, layer);
    const long row = p.row, b = d.sizes[t], k = t ? model.K : 0, size = model.K * row;
    const T *state = p.states + j * size, *next = after < 0 ? p.project : (x ? p.gates : p.states) + after * size;
    if (x) {
        sums = scratch;
        const Scales by = {d.by_input.get() + d.offsets[t], of_block(p.scales, j)};
        sum_rows<T>(layer.bias.get() + j * row, 0, x, model.P_row, p.gates + j * size, model.K, by, state, sums, row, b);
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
                                next_weights(next, k - last, r))
    IN_TILES(b, Size<T>::rows, TILE)
#undef TILE
}

// Blocks first..last of the projection of step t. next: weights that are wanted after these.
template <class T>
TARGET static void project(Direction<T>& d, const Layer& layer, const T* next, long t, long first, long last) {
    const Model& model = d.model;
    const Packed<T> p(model, layer);
    static const float zeros[GATES * 16] = {};
    const long n = last - first, size = model.M * p.row;
    for (long i = 0; i < n; i++) {
        const long j = first + turn(i, n, t);
        const T* after = i + 1 < n ? p.project + (first + turn(i + 1, n, t)) * size : next;
        sum_rows<T>(zeros, 0, d.m.get(), model.H_row, p.project + j * size, model.M,
                    {d.by_m.get(), of_block(p.project_scales, j)}, after, d.y.get() + j * p.row, model.P_row,
                    d.sizes[t]);
    }
}

// Where the weights of a block of gates begin, or those of its state.
template <class T>
TARGET static const T* weights_of(const Direction<T>& d, const Layer& layer, long block, bool state) {
    const Packed<T> p(d.model, layer);
    return (state ? p.states : p.gates) + block * d.model.K * p.row;
}

#ifdef NATIVE_AMX
#include "lstm_tiles.h"
#endif

// The share of one of a team's threads, number `me`. No bit depends on how blocks are shared.
template <class T>
TARGET static void run_layer(Direction<T>& d, long number, Team& team, long me) {
    const Model& model = d.model;
    const Layer& layer = model.directions[d.task.side][number];
    const long row = GATES * LANES, blocks = (model.H + LANES - 1) / LANES;
    const long own_first = team.begin(blocks, me), own_last = team.begin(blocks, me + 1), n = own_last - own_first;
    const long outputs = model.P_row / row;  // blocks of the projection
    const long out_first = team.begin(outputs, me), out_last = team.begin(outputs, me + 1);
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
                const long j = own_first + turn(i, n, t), next = own_first + turn(i + 1, n, t);
                float* own = sums + (j * block_rows + d.offsets[t] - d.offsets[begin]) * row;
                step_block<T>(d, layer, j, i + 1 < n ? next : model.projects ? -1 : j, window ? nullptr : x,
                              window ? own : nullptr, scratch, t);
            }
            if (model.projects) {
                if (team.meet(me)) {
                    if (model.type == INT16) scale_m(d, t);
                    team.go();
                }
                const T* next = weights_of<T>(d, layer, own_first + turn(0, n, t + 1), window);
                project<T>(d, layer, next, t, out_first, out_last);
            }
            if (!team.meet(me)) continue;
            finish<T>(d, number, t);
            if (!t) share_first(d);
            team.go();
        }
    }
}

template <class T>
TARGET static void run_as(const Task& task) {
    Direction<T> d(task);
    embed<T>(d);
    Team team;
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
