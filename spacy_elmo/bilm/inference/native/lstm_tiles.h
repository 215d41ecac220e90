// A step of a direction in tiles, in place of what lstm.h does.
//   gates    [H / V blocks][inputs, state][half][K / 2][HALF][2]
//   project  [P / 4V blocks][half][H / 2][HALF][2]
//   m        (H_row / 32, B + SPARE, 32): as tiles read it

template <>
TARGET const bf16* weights_of<bf16>(const Direction<bf16>& d, const Layer& layer, long block, bool state) {
    return (const bf16*)layer.gates.get() + (2 * block + state) * d.model.K * GATES * LANES;
}

// Rows of a layer's inputs, or of its state; none where `from` is null.
INLINE Inputs inputs_of(const Direction<bf16>& d, const Layer& layer, long block, const bf16* from, bool state) {
    const long K = d.model.K, groups = from ? K / TILE_INPUTS : 0;
    return {from, d.model.P_row, TILE_INPUTS, groups, weights_of<bf16>(d, layer, block, state), K * HALF};
}

template <>
TARGET void sum_inputs<bf16>(Direction<bf16>& d, const Layer& layer, long block, const bf16* x, const float*, long rows,
                             float* to) {
    sum_block({nullptr, 0}, inputs_of(d, layer, block, x, false), NONE, weights_of<bf16>(d, layer, block + 1, false),
              {to, GATES * LANES}, rows);
}

// Cells of a block, from their sums on.
TARGET static NOINLINE void step_rows(Direction<bf16>& d, const float* bias, long block, const float* sums, long n) {
    const V of_i = load(bias), of_f = load(bias + LANES), of_g = load(bias + 2 * LANES), of_o = load(bias + 3 * LANES);
    const float clip = d.model.cell_clip;
    const long H_row = d.model.H_row, group = TILE_INPUTS / LANES;
    float *c = d.c_of(block), *y = d.y.get() + block * LANES;
    bf16* m = nullptr;
    if (d.model.projects)
        m = d.m.get() + block / group * (d.task.rows + d.SPARE) * TILE_INPUTS + block % group * LANES;
    for (long r = 0; r < n; r++, sums += GATES * LANES) {
        const V gates[GATES] = {add(load(sums), of_i), add(load(sums + LANES), of_f), add(load(sums + 2 * LANES), of_g),
                                add(load(sums + 3 * LANES), of_o)};
        V state = load(c + r * LANES), out = step<bf16>(gates, &state, clip);
        store(c + r * LANES, state);
        if (m) store_as(m + r * TILE_INPUTS, out);
        else store(y + r * H_row, out);
    }
}

template <>
TARGET void step_block<bf16>(Direction<bf16>& d, const Layer& layer, long j, const bf16* next, const bf16* x, float* sums,
                             float* scratch, long t) {
    const long b = d.sizes[t], row = GATES * LANES;
    sum_block({sums, row}, inputs_of(d, layer, j, x, false), inputs_of(d, layer, j, t ? d.h.get() : nullptr, true), next,
              {scratch, row}, b);
    step_rows(d, layer.bias.get() + j * row, j, x || t ? scratch : sums, b);
}

template <>
TARGET void project<bf16>(Direction<bf16>& d, const Layer& layer, const bf16* after, long t, long first, long last) {
    const Model& model = d.model;
    const long row = GATES * LANES, n = last - first, rows = d.task.rows + d.SPARE;
    const bf16* weights = (const bf16*)layer.project.get();
    for (long i = 0; i < n; i++) {
        const long j = first + turn(i, n, t);
        const bf16* next = i + 1 < n ? weights + (first + turn(i + 1, n, t)) * model.M * row : after;
        const Inputs m = {d.m.get(), TILE_INPUTS, rows * TILE_INPUTS, model.M / TILE_INPUTS, weights + j * model.M * row,
                          model.M * HALF};
        sum_block({nullptr, 0}, m, NONE, next, {d.y.get() + j * row, model.P_row}, d.sizes[t]);
    }
}
