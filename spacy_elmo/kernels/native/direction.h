// One direction of a biLM over a packed batch: what it keeps, what it reads and where its layers go. Included once for each
// instruction set, behind cell.h.

constexpr long WINDOW = 64;  // rows of the input product that share a pass over the weights

template <class T>
struct Direction {
    const Model& model;
    const Task& task;
    long steps, units;           // T, N
    std::vector<long> sizes;     // (T,) rows of each step
    std::vector<long> offsets;   // (T + 1,) of a step's first row among the N
    AlignedBuffer<float> current;       // (N, P_row) the layer's input, then its output
    AlignedBuffer<T> inputs;            // (N, P_row) the same as T, where that is another type
    AlignedBuffer<float> c, y;          // (H_row / V, B, V) cell state; (B, H_row or P_row) state before its clip
    AlignedBuffer<T> m, h;              // (B, H_row) before the projection, in tiles as lstm_tiles.h has it; (B, P_row) state
    AlignedBuffer<float> by_input, by_m, by_h;  // (N,), (B,), (B,) of int16, see Scales
    AlignedBuffer<float> sums;          // of the input product: a window of all blocks
    AlignedBuffer<float> scratch;       // sums of a block, for each thread
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

// Whether rows have padding that products read: it has to be zero, all else is written first.
static bool padded(const Model& m) {
    return m.P != m.P_row || m.M != static_cast<long>(round_up(m.H, LANES));
}

template <class T>
Direction<T>::Direction(const Task& t)
    : model(*t.model), task(t), steps(t.lengths[0] - 1), units(0), sizes(sizes_of(t)), offsets(offsets_of(sizes)),
      current(offsets.back() * t.model->P_row, padded(*t.model)),
      inputs(sizeof(T) == 4 ? 0 : (offsets.back() + SPARE) * t.model->P_row, padded(*t.model)),
      c(t.rows * t.model->H_row, false),
      y((t.rows + SPARE) * (t.model->projects ? t.model->P_row : t.model->H_row), padded(*t.model)),
      m(t.model->projects ? (t.rows + SPARE) * t.model->H_row : 0, padded(*t.model)),
      h((t.rows + SPARE) * t.model->P_row, padded(*t.model)), by_input(offsets.back()), by_m(t.rows), by_h(t.rows),
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

// What is added up for a unit: its own vector for k = 0, and for the others that of the n-gram of k + 1 units that this
// direction has read to the end with it; null: none.
INLINE const float* vector_of(const Model& model, const Task& task, long row, long at, long k) {
    if (!k) return task.vectors + task.ids[row][at] * model.P;
    const Ngrams& ngrams = task.ngrams;
    const long end = task.side ? at + k : at;
    const int64_t found = end < task.lengths[row] ? ngrams.rows[row][end * ngrams.K + k - 1] : 0;
    return found ? ngrams.vectors + found * ngrams.W : nullptr;
}

// They lie all over a table of megabytes.
INLINE void fetch_unit(const Model& model, const Task& task, long row, long at) {
    for (long k = 0; k <= task.ngrams.K; k++) {
        const float* vector = vector_of(model, task, row, at, k);
        const long n = k ? task.ngrams.W : model.P;
        for (long i = 0; vector && i < n; i += CACHE_LINE / sizeof(float)) __builtin_prefetch(vector + i);
    }
}

// In this order, one by one: a unit's sum has the same bits by every route.
INLINE void read_unit(const Model& model, const Task& task, long row, long at, float* x) {
    const float* vector = vector_of(model, task, row, at, 0);
    for (long i = 0; i < model.P; i++) x[i] = vector[i] * task.scale;
    for (long k = 1; k <= task.ngrams.K; k++) {
        vector = vector_of(model, task, row, at, k);
        for (long i = 0; vector && i < task.ngrams.W; i++) x[i] += vector[i];
    }
}

template <class T>
TARGET static void embed(Direction<T>& d) {
    const Model& model = d.model;
    const Task& task = d.task;
    for (long t = 0; t < d.steps; t++) {
        for (long row = 0; row < d.sizes[t]; row++) {
            long at = place(task, row, t), n = (d.offsets[t] + row) * model.P_row;
            if (row + 1 < d.sizes[t]) fetch_unit(model, task, row + 1, place(task, row + 1, t));
            float* x = d.current.get() + n;
            read_unit(model, task, row, at, x);
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
    const V top = set1(model.proj_clip), low = set1(-model.proj_clip);
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
