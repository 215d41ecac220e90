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
        V state = load(c + r * H_row), out = step<T>(gates, &state, clip);
        store(c + r * H_row, state);
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
    Buffer<float> c, y;          // (B, H_row) cell state; (B, H_row or P_row) state before its clip
    Buffer<T> m, h;              // (B, H_row) before the projection; (B, P_row) state
    Buffer<float> by_input, by_m, by_h;  // (N,), (B,), (B,) of int16, see Scales
    Buffer<float> sums;          // of the input product: a window of all blocks, or a block of a step for each thread
    explicit Direction(const Task& t);
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
      inputs(sizeof(T) == 4 ? 0 : offsets.back() * t.model->P_row),
      c(t.rows * t.model->H_row), y(t.rows * (t.model->projects ? t.model->P_row : t.model->H_row)),
      m(t.model->projects ? t.rows * t.model->H_row : 0), h(t.rows * t.model->P_row),
      by_input(offsets.back()), by_m(t.rows), by_h(t.rows),
      sums(larger(t.rows * t.team, WINDOW * (t.model->H_row / LANES)) * GATES * LANES) {
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
    for (long row = 1; row < d.task.rows; row++) {
        memcpy(d.c.get() + row * H_row, d.c.get(), H_row * sizeof(float));
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
INLINE const float* of_block(const float* scales, long j) { return scales ? scales + j * GATES * LANES : nullptr; }

// Blocks first..last. after: as of sum_rows.
template <class T>
TARGET static void project(
    Direction<T>& d, const T* weights, const float* scales, const T* after, long t, long first, long last) {
    const Model& model = d.model;
    static const float zeros[GATES * 16] = {};
    const long row = GATES * LANES, n = last - first, block_size = model.M * row;
    for (long i = 0; i < n; i++) {
        const long j = first + turn(i, n, t);
        const T* next = i + 1 < n ? weights + (first + turn(i + 1, n, t)) * block_size : after;
        sum_rows<T>(zeros, 0, d.m.get(), model.H_row, weights + j * block_size, model.M,
                    {d.by_m.get(), of_block(scales, j)}, next, d.y.get() + j * row, model.P_row, d.sizes[t]);
    }
}

// A block of the gates of step t, from the sums of the input product on. after: as of sum_rows.
template <class T>
TARGET static void recur(
    Direction<T>& d, long block, const T* w, const float* scales, const T* after, const float* sums, long b, long k,
    float* scratch) {
    const Model& model = d.model;
    const long row = GATES * LANES, last = k ? (k - 1) / Size<T>::segment * Size<T>::segment : 0;
    const float* from = sums;
    const T* h = d.h.get();
    const Scales by = {d.by_h.get(), scales};
    if (last) {
        sum_rows<T>(from, row, h, model.P_row, w, last, by, w + last * row, scratch, row, b);
        from = scratch;
    }
    float* c = d.c.get() + block * LANES;
    T* m = d.m.get() + (model.projects ? block * LANES : 0);
    float* y = model.projects ? nullptr : d.y.get() + block * LANES;
#define TILE(R) step_tile<T, R>(from + r * row, row, h + r * model.P_row + last, model.P_row, w + last * row, \
                                k - last, scales_at(by, r), c + r * model.H_row, m + r * model.H_row,         \
                                y ? y + r * model.H_row : nullptr, model.H_row, model.cell_clip,              \
                                next_weights(after, k - last, r))
    IN_TILES(b, Size<T>::rows, TILE)
#undef TILE
}

// The share of one of a team's threads, number `me`. No bit depends on how blocks are shared.
template <class T>
TARGET static void run_layer(Direction<T>& d, long number, Team& team, long me) {
    const Model& model = d.model;
    const Layer& layer = model.directions[d.task.side][number];
    const long row = GATES * LANES, block_size = model.K * row;
    const long blocks = (model.H + LANES - 1) / LANES;
    const T *gates = (const T*)layer.gates.get(), *states = gates + blocks * block_size;
    const float* bias = layer.bias.get();
    const bool scaled = model.type == INT16;
    const float* scales = scaled ? layer.scales.get() : nullptr;  // of the input's weights
    const float *state_scales = of_block(scales, blocks), *project_scales = of_block(state_scales, blocks);
    const long own_first = team.begin(blocks, me), own_last = team.begin(blocks, me + 1), n = own_last - own_first;
    const long outputs = model.P_row / row;  // blocks of the projection
    const long out_first = team.begin(outputs, me), out_last = team.begin(outputs, me + 1);
    T* inputs = as_inputs(d.current.get(), d.inputs.get());
    float *sums = d.sums.get(), *scratch = sums + me * d.task.rows * row;
    for (long r = 0; r < d.task.rows; r++)
        memset(d.c.get() + r * model.H_row + own_first * LANES, 0, n * LANES * sizeof(float));
    for (long begin = 0, end; begin < d.steps; begin = end) {
        end = begin + 1;
        while (end < d.steps && d.offsets[end + 1] - d.offsets[begin] <= WINDOW) end++;
        const long rows = d.offsets[end] - d.offsets[begin];
        const bool window = end > begin + 1;  // else a block's weights serve input and state while they are hot
        const T* x = inputs + d.offsets[begin] * model.P_row;
        const float* by = d.by_input.get() + d.offsets[begin];
        for (long j = own_first; window && j < own_last; j++) {
            const T* w = gates + j * block_size;
            sum_rows<T>(bias + j * row, 0, x, model.P_row, w, model.K, {by, of_block(scales, j)}, w + block_size,
                        sums + j * rows * row, row, rows);
        }
        for (long t = begin; t < end; t++) {
            const long b = d.sizes[t], k = t ? model.K : 0;
            const T *project_by = (const T*)layer.project.get(), *first = window ? states : gates;
            for (long i = 0; i < n; i++) {
                const long j = own_first + turn(i, n, t);
                const T *w = gates + j * block_size, *state = states + j * block_size;
                const T* after = i + 1 < n ? first + (own_first + turn(i + 1, n, t)) * block_size
                                           : model.projects ? project_by : first + j * block_size;
                float* own = scratch;
                if (window) own = sums + (j * rows + d.offsets[t] - d.offsets[begin]) * row;
                else
                    sum_rows<T>(bias + j * row, 0, x, model.P_row, w, model.K, {by, of_block(scales, j)}, state, own,
                                row, b);
                recur<T>(d, j, state, of_block(state_scales, j), after, own, b, k, own);
            }
            if (model.projects) {
                if (team.meet(me)) {
                    if (scaled) scale_m(d, t);
                    team.go();
                }
                const T* after = first + (own_first + turn(0, n, t + 1)) * block_size;
                project<T>(d, project_by, project_scales, after, t, out_first, out_last);
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
