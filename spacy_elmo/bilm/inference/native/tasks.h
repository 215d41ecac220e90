// What is made of layers in prediction: those of tokens, the scalar mix, and Maxout with layer normalisation. Included
// once for each instruction set, behind training.h. A row's result does not depend on the other rows.

// Layers of tokens (L, n, D) from states of units. Layer 0 is the mean over a token's units; above it, the first half
// is that of the last unit, the second that of the first. Tokens without units get zeros.
TARGET static void token_layers(const Tokens& t, float* out) {
    const long half = t.D / 2;
    long i = 0, sentence = 0, before = 0;  // units of the sentences before this one
    for (long token = 0; token < t.n; token++, out += t.D) {
        if (i == t.m || t.tokens[i] != token) {
            for (long j = 0; j < t.L; j++) memset(out + j * t.n * t.D, 0, t.D * sizeof(float));
            continue;
        }
        const long first = t.starts[i], end = ++i < t.m ? t.starts[i] : t.k;
        for (long each = first; each < end; each++) {
            while (t.units[each] >= before + t.lengths[sentence]) before += t.lengths[sentence++];
            const long size = t.lengths[sentence] * t.D;  // of a layer
            const float* state = t.states[sentence] + (t.units[each] - before) * t.D;
            if (each == first) memcpy(out, state, t.D * sizeof(float));
            else
                for (long j = 0; j < t.D; j++) out[j] += state[j];
            for (long j = 1; j < t.L; j++) {
                float* to = out + j * t.n * t.D;
                if (each == first) memcpy(to + half, state + j * size + half, half * sizeof(float));
                if (each + 1 == end) memcpy(to, state + j * size, half * sizeof(float));
            }
        }
        const float count = static_cast<float>(end - first);
        for (long j = 0; j < t.D && end - first > 1; j++) out[j] /= count;
    }
}

// Mean of n numbers, and 1 / sqrt(variance + epsilon).
INLINE Moments moments(const float* x, long n, float epsilon) {
    const long whole = n / (2 * LANES) * (2 * LANES);
    V a = set1(0.f), b = set1(0.f);
    for (long i = 0; i < whole; i += 2 * LANES) {
        a = add(a, load(x + i));
        b = add(b, load(x + i + LANES));
    }
    float sum = total(add(a, b));
    for (long i = whole; i < n; i++) sum += x[i];
    const float mean = sum / static_cast<float>(n);
    const V middle = set1(mean);
    a = b = set1(0.f);
    for (long i = 0; i < whole; i += 2 * LANES) {
        V p = sub(load(x + i), middle), q = sub(load(x + i + LANES), middle);
        a = fma(p, p, a);
        b = fma(q, q, b);
    }
    float squares = total(add(a, b));
    for (long i = whole; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    return {mean, 1.f / std::sqrt(squares / static_cast<float>(n) + epsilon)};
}

// Tokens first..last of layers h (L, n, D) -> y (n, D + S): sum_j weights_j h_j, and what is beside it (n, S). Where
// `norms` (n, L) is not null, each h_j has mean 0 and variance 1 first, and these go there. factors: room for L numbers.
TARGET static void mix_tokens(const float* h, long L, long n, long D, const float* weights, float epsilon,
                              const float* beside, long S, long first, long last, float* y, Moments* norms,
                              float* factors) {
    for (long t = first; t < last; t++) {
        float shift = 0;
        for (long j = 0; j < L && t + 1 < last; j++) {  // rows are short: the processor sees too late what comes next
            const float* next = h + (j * n + t + 1) * D;
            for (long i = 0; i < D; i += 16) __builtin_prefetch(next + i);
        }
        for (long j = 0; j < L; j++) {
            factors[j] = weights[j];
            if (!norms) continue;
            const Moments found = moments(h + (j * n + t) * D, D, epsilon);
            norms[t * L + j] = found;
            factors[j] *= found.scale;
            shift += factors[j] * found.mean;
        }
        for (long i = 0; i < D; i += LANES) {
            V sum = set1(-shift);
            for (long j = 0; j < L; j++) sum = fma(set1(factors[j]), load_some(h + (j * n + t) * D + i, D - i), sum);
            store_some(y + t * (D + S) + i, sum, D - i);
        }
        if (S) memcpy(y + t * (D + S) + D, beside + t * S, S * sizeof(float));
    }
}

// acc[r][p] += x[r][0..k] * w[0..k][p]
template <int R>
INLINE void multiply_pieces(V (&acc)[R][PIECES], const float* x, long x_row, const float* w, long k) {
    for (long i = 0; i < k; i++, w += PIECES * LANES) {
        V w0 = load(w), w1 = load(w + LANES), w2 = load(w + 2 * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            V b = set1(x[r * x_row + i]);
            acc[r][0] = fma(w0, b, acc[r][0]);
            acc[r][1] = fma(w1, b, acc[r][1]);
            acc[r][2] = fma(w2, b, acc[r][2]);
        }
    }
}

template <int R>
INLINE void multiply_pieces(V (&acc)[R][PIECES], const bf16* x, long x_row, const bf16* w, long k) {
    for (long i = 0; i < k; i += 2, w += 2 * PIECES * LANES) {
        Pairs w0 = load_pairs(w), w1 = load_pairs(w + 2 * LANES), w2 = load_pairs(w + 4 * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            Pairs b = set1_pairs(x + r * x_row + i);
            acc[r][0] = dot(acc[r][0], w0, b);
            acc[r][1] = dot(acc[r][1], w1, b);
            acc[r][2] = dot(acc[r][2], w2, b);
        }
    }
}

// R rows of a block of outputs: the largest of the pieces. n: outputs from here on.
template <class T, int R>
TARGET NOINLINE void maxout_tile(const float* bias, const T* x, long x_row, const T* w, long k, float* y, long y_row,
                                 long n) {
    V acc[R][PIECES];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int p = 0; p < PIECES; p++) acc[r][p] = load(bias + p * LANES);
    multiply_pieces<R>(acc, x, x_row, w, k);
    UNROLL for (int r = 0; r < R; r++)
        store_some(y + r * y_row, at_least(at_least(acc[r][0], acc[r][1]), acc[r][2]), n);
}

// The largest pieces of all outputs. x (rows, m.row) -> y (rows, O).
template <class T>
TARGET static void maxout_sums(const Maxout& m, long rows, const T* x, float* y) {
    const T* w = (const T*)m.weights.get();
    for (long at = 0; at < m.O; at += LANES, w += m.K * PIECES * LANES) {
        const float* bias = m.bias.get() + at * PIECES;
#define TILE(R) maxout_tile<T, R>(bias, x + r * m.row, m.row, w, m.K, y + r * m.O + at, m.O, m.O - at)
        for (long r = 0, R; r < rows; r += R) {
            const long left = rows - r;
            if (LANES == 16 && left >= 8) TILE(8), R = 8;
            else if (left >= 4) TILE(4), R = 4;
            else if (left >= 2) TILE(2), R = 2;
            else TILE(1), R = 1;
        }
#undef TILE
    }
}

#ifdef NATIVE_AMX
template <>
TARGET void maxout_sums<bf16>(const Maxout& m, long rows, const bf16* x, float* y) {
    const long row = registers_of(m, LANES) * LANES, block = GATES * LANES;
    const Buffer<float> sums((rows + MOST_SPARE) * row, false);
    const bf16* w = (const bf16*)m.weights.get();
    const Tiles tiles;
    for (long at = 0; at < row; at += block, w += m.K * block)
        sum_block({nullptr, 0}, {x, m.row, TILE_INPUTS, m.K / TILE_INPUTS, w, m.K * HALF}, NONE, w + m.K * block,
                  {sums.get() + at, row}, rows);
    for (long r = 0; r < rows; r++, y += m.O) {
        const float *of = sums.get() + r * row, *bias = m.bias.get();
        for (long at = 0; at < m.O; at += LANES, of += PIECES * LANES, bias += PIECES * LANES) {
            V most = add(load(of), load(bias));
            for (long p = 1; p < PIECES; p++) most = at_least(most, add(load(of + p * LANES), load(bias + p * LANES)));
            store_some(y + at, most, m.O - at);
        }
    }
}
#endif

// rows (rows, I) -> y (rows, O). inputs: room for the rows as T, and for MOST_SPARE more.
template <class T>
TARGET static void maxout_rows(const Maxout& m, long rows, const float* x, float* y, T* inputs) {
    for (long r = 0; r < rows; r++)
        for (long i = 0; i < m.I; i += LANES)
            store_some(inputs + r * m.row + i, load_some(x + r * m.I + i, m.I - i), m.I - i);
    maxout_sums<T>(m, rows, inputs, y);
    for (long r = 0; m.normalizes && r < rows; r++, y += m.O) {
        const Moments found = moments(y, m.O, m.epsilon);
        const V scale = set1(found.scale), mean = set1(found.mean);
        for (long i = 0; i < m.O; i += LANES) {
            V even = mul(sub(load_some(y + i, m.O - i), mean), scale);
            store_some(y + i, fma(even, load(m.gain.get() + i), load(m.shift.get() + i)), m.O - i);
        }
    }
}
