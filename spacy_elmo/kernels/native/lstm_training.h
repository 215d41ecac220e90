// A layer of one direction in training. Included once for each instruction set, behind operands.h.
//
// Rows of step t are the first sizes[t] ones, which never become more. Its units have numbers offsets[t].., an even number
// of them, so that two stand side by side where units are the inputs of a product.

constexpr long SPAN_OF_UNITS = 1024;  // units whose share of the weights' gradients is added up at once
constexpr long FEWEST = 32;           // rows of a thread: two tiles

static inline long even(long n) { return n + (n & 1); }

// What a layer keeps from the way forward for the way back.
template <class T>
struct Kept {
    T *x, *h, *m;   // (N, K), (N, K), (N, M): input, state before, o * tanh(c)
    T* gates;       // (steps) to [J][even(b)][GATES][LANES]
    float* c;       // (steps) to [J][even(b)][LANES]
};

template <class T>
struct Lstm {
    const LstmShape& s;
    long K, M, J, G, N, P_row, H_row;
    std::vector<long> offsets;
    Kept<T> kept;
    explicit Lstm(const LstmShape& shape)
        : s(shape), K(round_up(s.P, Pack<T>::group)), M(round_up(s.H, larger(Pack<T>::group, LANES))),
          J((s.H + LANES - 1) / LANES), G(J * BLOCK), P_row(round_up(s.P, BLOCK)), H_row(round_up(s.H, BLOCK)), offsets(1, 0) {
        for (long t = 0; t < s.steps; t++) offsets.push_back(offsets.back() + even(s.sizes[t]));
        N = round_up(offsets.back(), GROUP);
    }
    // Places `kept` behind `memory`, and returns the bytes that it takes.
    long keep(char* memory) {
        long at = 0;
        const auto take = [&](long n, long size) {
            char* found = memory + at;
            at += round_up(n * size, CACHE_LINE);
            return found;
        };
        const long rows = N + Size<T>::spare;
        kept.x = (T*)take(rows * K, sizeof(T));
        kept.h = (T*)take(rows * K, sizeof(T));
        kept.m = (T*)take(rows * M, sizeof(T));
        kept.gates = (T*)take(N * G, sizeof(T));
        kept.c = (float*)take(N * J * LANES, sizeof(float));
        return at;
    }
    // Row of a matrix of gates (4H, P) that is the output `o` of a block; null: none.
    const float* gate_row(const float* w, long o) const {
        const long unit = o / BLOCK * LANES + o % LANES, gate = o % BLOCK / LANES;
        return unit < s.H ? w + (gate * s.H + unit) * s.P : nullptr;
    }
    T* gates(long t, long j) const { return kept.gates + offsets[t] * G + j * even(s.sizes[t]) * BLOCK; }
    float* c(long t, long j) const { return kept.c + (offsets[t] * J + j * even(s.sizes[t])) * LANES; }
};

template <class T>
INLINE V sigmoid_as(V x) {
    return reciprocal(add(exp2<T>(mul(x, set1(-LOG2E))), set1(1.f)));
}
template <class T>
INLINE V tangent_as(V x) {
    const V e = exp2<T>(mul(x, set1(-2.f * LOG2E)));
    return mul(sub(set1(1.f), e), reciprocal(add(set1(1.f), e)));
}

// LANES cells of n rows from their sums (n, BLOCK). before: null, where states are zero.
template <class T>
TARGET static void forward_cells(long n, const float* sums, const float* bias, const float* before, T* gates, float* c, T* m,
                                 long m_row) {
    const V of_i = load(bias), of_f = load(bias + LANES), of_g = load(bias + 2 * LANES), of_o = load(bias + 3 * LANES);
    for (long r = 0; r < n; r++, sums += BLOCK, gates += BLOCK, c += LANES, m += m_row) {
        const V i = sigmoid_as<T>(add(load(sums), of_i)), f = sigmoid_as<T>(add(load(sums + LANES), of_f));
        const V g = tangent_as<T>(add(load(sums + 2 * LANES), of_g)), o = sigmoid_as<T>(add(load(sums + 3 * LANES), of_o));
        const V state = before ? fma(f, load(before + r * LANES), mul(i, g)) : mul(i, g);
        store(c, state);
        store_as(m, mul(o, tangent_as<T>(state)));
        store_as(gates, i);
        store_as(gates + LANES, f);
        store_as(gates + 2 * LANES, g);
        store_as(gates + 3 * LANES, o);
    }
}

// Rows first..last of the way forward.
template <class T>
TARGET static void forward_rows(const Lstm<T>& l, const LstmForward& a, const ColumnsOf<T>* w, const float* bias, long first,
                                long last) {
    const LstmShape& s = l.s;
    const long most = last - first + MOST_SPARE;
    const AlignedBuffer<float> scratch(most * BLOCK, false), y(most * l.P_row, false);
    for (long t = 0; t < s.steps; t++) {
        const long n = larger(0, smaller(last, s.sizes[t]) - first);
        for (long r = n; r < last - first; r++)
            memset(a.y + t * a.of_y.step + (first + r) * a.of_y.row, 0, s.P * sizeof(float));
        if (!n) continue;
        const long at = l.offsets[t] + first;
        T *x = l.kept.x + at * l.K, *h = l.kept.h + at * l.K, *m = l.kept.m + at * l.M;
        for (long r = 0; r < n; r++) {
            put_row(x + r * l.K, a.x + t * a.of_x.step + (first + r) * a.of_x.row, s.P, l.K);
            for (long i = l.J * LANES; i < l.M; i++) m[r * l.M + i] = 0;  // padding that no block of cells reaches
        }
        const auto rows = RowsOf<T>::plain(x, l.K), states = RowsOf<T>::plain(t ? h : nullptr, l.K);
        for (long i = 0; i < l.J; i++) {
            const long j = turn(i, l.J, t);
            const T* next = w[0].at(0, (i + 1 < l.J ? turn(i + 1, l.J, t) : j) * BLOCK);
            product_of_two(rows, w[0], states, w[1], n, j * BLOCK, next, scratch.get(), BLOCK);
            forward_cells(n, scratch.get(), bias + j * BLOCK, t ? l.c(t - 1, j) + first * LANES : nullptr,
                          l.gates(t, j) + first * BLOCK, l.c(t, j) + first * LANES, m + j * LANES, l.M);
        }
        if (s.projects)
            for (long o = 0; o < s.P; o += BLOCK)
                product(false, RowsOf<T>::plain(m, l.M), n, w[2], 0, l.M, o, y.get() + o, l.P_row);
        const long follow = t + 1 < s.steps ? smaller(last, s.sizes[t + 1]) - first : 0;
        for (long r = 0; r < n; r++) {
            float *to = a.y + t * a.of_y.step + (first + r) * a.of_y.row, *from = y.get() + r * l.P_row;
            if (!s.projects)
                for (long i = 0; i < s.H; i++) from[i] = to_float(m[r * l.M + i]);
            memcpy(to, from, s.P * sizeof(float));
            if (r < follow) put_row(l.kept.h + (l.offsets[t + 1] + first + r) * l.K, from, s.P, l.K);
        }
    }
}

// Two rows of cells: d_m, of what is projected; d_c, of the state, from the step behind in, to the one before out. Their
// sums' gradients go to a row each, and side by side to columns.
template <class T>
INLINE void backward_cell(const T* gates, const float* before, const float* c, const float* d_m, float* d_c, V* d) {
    const V one = set1(1.f);
    const V i = load(gates), f = load(gates + LANES), g = load(gates + 2 * LANES), o = load(gates + 3 * LANES);
    const V t = tangent_as<T>(load(c)), dm = load(d_m);
    const V dc = fma(mul(dm, o), sub(one, mul(t, t)), load(d_c));
    d[0] = mul(mul(dc, g), mul(i, sub(one, i)));
    d[1] = before ? mul(mul(dc, load(before)), mul(f, sub(one, f))) : set1(0.f);
    d[2] = mul(mul(dc, i), sub(one, mul(g, g)));
    d[3] = mul(mul(dm, t), mul(o, sub(one, o)));
    store(d_c, mul(dc, f));
}

template <class T>
TARGET static void backward_cells(long n, const T* gates, const float* before, const float* c, const float* d_m, float* d_c,
                                  RowsOf<T> rows, ColumnsOf<T> columns, long unit, long output) {
    for (long r = 0; r < n; r += 2) {
        V d[2][GATES];
        for (int k = 0; k < GATES; k++) d[1][k] = set1(0.f);
        for (long i = 0; i < smaller(2, n - r); i++) {
            const long at = r + i;
            backward_cell(gates + at * BLOCK, before ? before + at * LANES : nullptr, c + at * LANES, d_m + at * BLOCK,
                          d_c + at * LANES, d[i]);
            for (long k = 0; k < GATES; k++) store_as(rows.at(at, output + k * LANES), d[i][k]);
        }
        for (long k = 0; k < GATES; k++) put_two(columns.at(unit + r, output + k * LANES), d[0][k], d[1][k]);
    }
}

// Rows first..last of the way back. d_h: (N, K) gradients of states; columns: of the gates' sums, (N, G).
template <class T>
TARGET static void backward_rows(const Lstm<T>& l, const LstmBackward& a, const ColumnsOf<T>* w, T* d_h, ColumnsOf<T> columns,
                                 long first, long last) {
    const LstmShape& s = l.s;
    const long most = last - first + MOST_SPARE, own = last - first;
    const AlignedBuffer<float> scratch(most * BLOCK, false), before(most * l.P_row), d_c(l.J * own * LANES), state(l.H_row);
    const AlignedBuffer<T> sums(RowsOf<T>::size(own, l.G));
    const auto rows = RowsOf<T>::grouped(sums.get(), own, l.G);
    for (long t = s.steps - 1, follow = 0; t >= 0; t--) {
        const long n = larger(0, smaller(last, s.sizes[t]) - first), at = l.offsets[t] + first;
        for (long r = n; r < last - first; r++)
            memset(a.d_x + t * a.of_x.step + (first + r) * a.of_x.row, 0, s.P * sizeof(float));
        if (!n) continue;
        for (long r = 0; r < n; r++) {
            const float* d_y = a.d_y + t * a.of_y.step + (first + r) * a.of_y.row;
            float* sum = before.get() + r * l.P_row;
            for (long i = 0; i < s.P; i++) sum[i] = r < follow ? sum[i] + d_y[i] : d_y[i];
            put_row(d_h + (at + r) * l.K, sum, s.P, l.K);
        }
        for (long o = 0; o < s.H; o += BLOCK) {
            if (s.projects) product(false, RowsOf<T>::plain(d_h + at * l.K, l.K), n, w[0], 0, l.K, o, scratch.get(), BLOCK);
            else
                for (long r = 0; r < n; r++) put_row(scratch.get() + r * BLOCK, before.get() + r * l.P_row + o, smaller(BLOCK, s.H - o), BLOCK);
            for (long j = o / LANES; j < smaller(l.J, o / LANES + GATES); j++)
                backward_cells(n, l.gates(t, j) + first * BLOCK, t ? l.c(t - 1, j) + first * LANES : nullptr,
                               l.c(t, j) + first * LANES, scratch.get() + (j * LANES - o), d_c.get() + j * own * LANES,
                               rows, columns, at, j * BLOCK);
        }
        for (long o = 0; t && o < s.P; o += BLOCK) product(false, rows, n, w[1], 0, l.G, o, before.get() + o, l.P_row);
        for (long o = 0; o < s.P; o += BLOCK) {
            product(false, rows, n, w[2], 0, l.G, o, scratch.get(), BLOCK);
            for (long r = 0; r < n; r++)
                memcpy(a.d_x + t * a.of_x.step + (first + r) * a.of_x.row + o, scratch.get() + r * BLOCK,
                       smaller(BLOCK, s.P - o) * sizeof(float));
        }
        follow = n;
    }
}

// Sentences of a batch for each of so many threads: the first row of each, an even one, and the last one's end.
static std::vector<long> shares(long rows, long threads) {
    const long n = larger(1, smaller(threads, rows / FEWEST));
    std::vector<long> cuts(1, 0);
    for (long i = 1; i < n; i++) cuts.push_back(even(i * rows / n));
    cuts.push_back(rows);
    return cuts;
}

// Zeros where no unit stands: rows that make the number of a step's units even, and those behind the last one.
template <class T>
static void clear_gaps(const Lstm<T>& l, T* rows, long width) {
    for (long t = 0; t < l.s.steps; t++)
        if (l.s.sizes[t] & 1) memset(rows + (l.offsets[t + 1] - 1) * width, 0, width * sizeof(T));
    memset(rows + l.offsets.back() * width, 0, (l.N - l.offsets.back()) * width * sizeof(T));
}

template <class T>
static long lstm_kept(const LstmShape& s) {
    return Lstm<T>(s).keep(nullptr);
}

template <class T>
TARGET static int lstm_forward(const LstmShape& s, const LstmForward& a) {
    Lstm<T> l(s);
    l.keep(a.kept);
    const AlignedBuffer<T> packed(2 * ColumnsOf<T>::size(l.K, l.G) + ColumnsOf<T>::size(l.M, s.P));
    const ColumnsOf<T> w_ih = {packed.get(), l.K}, w_hh = {w_ih.data + ColumnsOf<T>::size(l.K, l.G), l.K};
    const ColumnsOf<T> w[] = {w_ih, w_hh, {w_hh.data + ColumnsOf<T>::size(l.K, l.G), l.M}};
    pack_rows([&](long o) { return l.gate_row(a.w_ih, o); }, l.G, s.P, w[0]);
    pack_rows([&](long o) { return l.gate_row(a.w_hh, o); }, l.G, s.P, w[1]);
    if (s.projects) pack_rows([&](long o) { return a.w_hr + o * s.H; }, s.P, s.H, w[2]);
    const AlignedBuffer<float> bias(l.G);
    for (long o = 0; o < l.G; o++)
        if (o / BLOCK * LANES + o % LANES < s.H)
            bias.get()[o] = a.bias[o % BLOCK / LANES * s.H + o / BLOCK * LANES + o % LANES];
    clear_gaps(l, l.kept.x, l.K);
    clear_gaps(l, l.kept.h, l.K);
    clear_gaps(l, l.kept.m, l.M);
    memset(l.kept.h, 0, l.offsets[1] * l.K * sizeof(T));
    const std::vector<long> cuts = shares(s.rows, s.threads);
    return parallel_for(s.threads, static_cast<long>(cuts.size()) - 1, [&](long i) {
        const Tiles tiles;
        forward_rows(l, a, w, bias.get(), cuts[i], cuts[i + 1]);
    });
}

// What the way back needs room for: gradients of the states and of the gates' sums of all units, and those of the weights.
template <class T>
struct Work {
    T* d_h;
    ColumnsOf<T> d_sums, m;
    RowsOf<T> inputs, d_states;  // of a span of units: (2P + 1, span), (P, span)
    float *weights, *projection;  // [G / BLOCK][2P + 1][BLOCK], [H / BLOCK][P][BLOCK]
    long bytes;
    Work(const Lstm<T>& l, char* memory) {
        long at = 0;
        const auto take = [&](long n, long size) {
            char* found = memory + at;
            at += round_up(n * size, CACHE_LINE);
            return found;
        };
        const long P = l.s.P, F = 2 * P + 1, spare = Size<T>::spare;
        d_h = (T*)take((l.N + spare) * l.K, sizeof(T));
        d_sums = {(T*)take(ColumnsOf<T>::size(l.N, l.G), sizeof(T)), l.N};
        m = {(T*)take(ColumnsOf<T>::size(SPAN_OF_UNITS, l.s.H), sizeof(T)), SPAN_OF_UNITS};
        inputs = RowsOf<T>::grouped((T*)take(RowsOf<T>::size(F, SPAN_OF_UNITS), sizeof(T)), F, SPAN_OF_UNITS);
        d_states = RowsOf<T>::grouped((T*)take(RowsOf<T>::size(P, SPAN_OF_UNITS), sizeof(T)), P, SPAN_OF_UNITS);
        weights = (float*)take(l.J * (F + spare) * BLOCK, sizeof(float));
        projection = (float*)take(l.H_row * (P + spare), sizeof(float));
        bytes = at;
    }
};

template <class T>
static long lstm_work(const LstmShape& s) {
    const Lstm<T> l(s);
    return Work<T>(l, nullptr).bytes;
}

// GROUP units from `unit` on become inputs of the products that give the weights' gradients, from number `at` of a span on.
template <class T>
TARGET static void turn_units(const Lstm<T>& l, const Work<T>& k, long unit, long at) {
    const long P = l.s.P;
    transpose(l.kept.x + unit * l.K, l.K, GROUP, P, k.inputs, 0, at);
    transpose(l.kept.h + unit * l.K, l.K, GROUP, P, k.inputs, P, at);
    for (long j = 0; j < GROUP; j++) *k.inputs.at(2 * P, at + j) = convert<T>(1.f);
    if (!l.s.projects) return;
    transpose(k.d_h + unit * l.K, l.K, GROUP, P, k.d_states, 0, at);
    const T* m = l.kept.m + unit * l.M;
    for (long j = 0; j < GROUP; j += 2, m += 2 * l.M)
        for (long o = 0; o < l.s.H; o += LANES) put_two(k.m.at(at + j, o), load(m + o), load(m + l.M + o));
}

// The weights' gradients, from those of all units.
template <class T>
TARGET static void sum_weights(const Lstm<T>& l, const Work<T>& k, long threads) {
    const long P = l.s.P, F = 2 * P + 1, spare = Size<T>::spare, outputs = l.s.projects ? l.H_row / BLOCK : 0;
    for (long begin = 0; begin < l.N; begin += SPAN_OF_UNITS) {
        const long n = smaller(SPAN_OF_UNITS, l.N - begin);
        parallel_for(threads, n / GROUP, [&](long i) { turn_units(l, k, begin + i * GROUP, i * GROUP); });
        parallel_for(threads, l.J + outputs, [&](long j) {
            const Tiles tiles;
            if (j < l.J) {
                product(begin > 0, k.inputs, F, k.d_sums, begin, n, j * BLOCK, k.weights + j * (F + spare) * BLOCK, BLOCK);
            } else {
                const long o = j - l.J;
                product(begin > 0, k.d_states, P, k.m, 0, n, o * BLOCK, k.projection + o * (P + spare) * BLOCK, BLOCK);
            }
        });
    }
}

// From blocks to matrices as torch has them.
template <class T>
TARGET static void write_weights(const Lstm<T>& l, const Work<T>& k, const LstmBackward& a) {
    constexpr long SOME = 64;
    const long P = l.s.P, H = l.s.H, F = 2 * P + 1, spare = Size<T>::spare;
    for (long j = 0; j < l.J; j++) {
        const float* from = k.weights + j * (F + spare) * BLOCK;
        for (long side = 0; side < 2; side++)
            for (long p = 0; p < P; p += SOME)
                for (long o = 0; o < BLOCK; o++) {
                    float* to = const_cast<float*>(l.gate_row(side ? a.d_w_hh : a.d_w_ih, j * BLOCK + o));
                    for (long i = p; to && i < smaller(P, p + SOME); i++) to[i] = from[(side * P + i) * BLOCK + o];
                }
        for (long o = 0; o < BLOCK; o++) {
            const long unit = j * LANES + o % LANES;
            if (unit < H) a.d_bias[o / LANES * H + unit] = from[2 * P * BLOCK + o];
        }
    }
    for (long o = 0; l.s.projects && o < H; o += BLOCK)
        for (long p = 0; p < P; p++)
            memcpy(a.d_w_hr + p * H + o, k.projection + (o / BLOCK * (P + spare) + p) * BLOCK,
                   smaller(BLOCK, H - o) * sizeof(float));
}

template <class T>
TARGET static int lstm_backward(const LstmShape& s, const LstmBackward& a) {
    Lstm<T> l(s);
    l.keep(const_cast<char*>(a.kept));
    const Work<T> k(l, a.work);
    const long up = ColumnsOf<T>::size(l.K, s.H), down = ColumnsOf<T>::size(l.G, s.P);
    const AlignedBuffer<T> packed(up + 2 * down);
    const ColumnsOf<T> w[] = {{packed.get(), l.K}, {packed.get() + up, l.G}, {packed.get() + up + down, l.G}};
    if (s.projects) pack_columns([&](long p) { return p < s.P ? a.w_hr + p * s.H : nullptr; }, s.H, w[0]);
    pack_columns([&](long o) { return l.gate_row(a.w_hh, o); }, s.P, w[1]);
    pack_columns([&](long o) { return l.gate_row(a.w_ih, o); }, s.P, w[2]);
    clear_gaps(l, k.d_h, l.K);
    for (long unit = l.offsets.back(); unit < l.N; unit += 2)
        for (long o = 0; o < l.G; o += LANES) put_two(k.d_sums.at(unit, o), set1(0.f), set1(0.f));
    const std::vector<long> cuts = shares(s.rows, s.threads);
    const int failed = parallel_for(s.threads, static_cast<long>(cuts.size()) - 1, [&](long i) {
        const Tiles tiles;
        backward_rows(l, a, w, k.d_h, k.d_sums, cuts[i], cuts[i + 1]);
    });
    if (failed) return failed;
    sum_weights(l, k, s.threads);
    write_weights(l, k, a);
    return 0;
}
