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
    float *c = d.c_of(block), *y = d.model.projects ? nullptr : d.y.get() + block * LANES;
    bf16* m = d.m.get();
    if (d.model.projects) m += block / group * (d.task.rows + d.SPARE) * TILE_INPUTS + block % group * LANES;
    for (long r = 0; r < n; r++, sums += GATES * LANES) {
        const V gates[GATES] = {add(load(sums), of_i), add(load(sums + LANES), of_f), add(load(sums + 2 * LANES), of_g),
                                add(load(sums + 3 * LANES), of_o)};
        step_row(gates, c + r * LANES, m + r * TILE_INPUTS, y ? y + r * H_row : nullptr, clip);
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
TARGET void project_block<bf16>(Direction<bf16>& d, const Layer&, long j, const bf16* w, const bf16* next, long t) {
    const Model& model = d.model;
    const long group = (d.task.rows + d.SPARE) * TILE_INPUTS;
    const Inputs m = {d.m.get(), TILE_INPUTS, group, model.M / TILE_INPUTS, w, model.M * HALF};
    sum_block({nullptr, 0}, m, NONE, next, {d.y.get() + j * GATES * LANES, model.P_row}, d.sizes[t]);
}
