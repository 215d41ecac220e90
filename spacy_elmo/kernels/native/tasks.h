// What is made of layers in prediction: those of tokens, the scalar mix, and Maxout with layer normalisation. Included
// once for each instruction set, behind partial.h. A row's result does not depend on the other rows.

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

// The largest of a Maxout's pieces; not finite where one of them is not, which the largest alone would not tell.
INLINE V largest_of(V a, V b, V c) {
    return fma(add(add(a, b), c), set1(0.f), at_least(at_least(a, b), c));
}

// R rows of a block of outputs: the rest of their sums, and then the largest of the pieces. n: outputs from here on.
template <class T, int R>
TARGET NOINLINE void maxout_tile(const float* from, long from_row, const T* x, long x_row, const T* w, long k, Scales by,
                                 float* y, long y_row, long n, const char* next) {
    V acc[R][PIECES];
    sums_of(acc, from, from_row, x, x_row, w, k, by, next);
    UNROLL for (int r = 0; r < R; r++)
        store_some(y + r * y_row, largest_of(acc[r][0], acc[r][1], acc[r][2]), n);
}

// The largest pieces of all outputs. x (rows, m.row), its scales `by` -> y (rows, O).
template <class T>
TARGET static void maxout_sums(const Maxout& m, long rows, const T* x, const float* by, float* y) {
    constexpr long row = PIECES * LANES;
    const long last = (m.K - 1) / Size<T>::segment * Size<T>::segment;
    const AlignedBuffer<float> sums(last ? rows * row : 0, false);
    const T* w = (const T*)m.weights.get();
    const float *bias = m.bias.get(), *scales = m.type == INT16 ? m.scales.get() : nullptr;
    for (long at = 0; at < m.O; at += LANES, bias += row) {
        const T* next = w + m.K * row;
        const Scales scaled = {by, scales ? scales + at * PIECES : nullptr};
        if (last) sum_rows<T, PIECES>(bias, 0, x, m.row, w, last, scaled, w + last * row, sums.get(), row, rows);
        const float* from = last ? sums.get() : bias;
        const long from_row = last ? row : 0;
#define TILE(R) maxout_tile<T, R>(from + r * from_row, from_row, x + r * m.row + last, m.row, w + last * row, m.K - last, \
                                  scales_at(scaled, r), y + r * m.O + at, m.O, m.O - at,                                 \
                                  next_weights<PIECES>(next, m.K - last, r))
        IN_TILES(rows, (rows_for<T, PIECES>()), TILE)
#undef TILE
        w = next;
    }
}

#ifdef NATIVE_AMX
template <>
TARGET void maxout_sums<bf16>(const Maxout& m, long rows, const bf16* x, const float*, float* y) {
    const long row = registers_of(m, LANES) * LANES, block = GATES * LANES;
    const AlignedBuffer<float> sums((rows + MOST_SPARE) * row, false);
    const bf16* w = (const bf16*)m.weights.get();
    const Tiles tiles;
    for (long at = 0; at < row; at += block, w += m.K * block)
        sum_block({nullptr, 0}, {x, m.row, TILE_INPUTS, m.K / TILE_INPUTS, w, m.K * HALF}, NONE, w + m.K * block,
                  {sums.get() + at, row}, rows);
    for (long r = 0; r < rows; r++, y += m.O) {
        const float *of = sums.get() + r * row, *bias = m.bias.get();
        for (long at = 0; at < m.O; at += LANES, of += PIECES * LANES, bias += PIECES * LANES) {
            V pieces[PIECES];
            for (long p = 0; p < PIECES; p++) pieces[p] = add(load(of + p * LANES), load(bias + p * LANES));
            store_some(y + at, largest_of(pieces[0], pieces[1], pieces[2]), m.O - at);
        }
    }
}
#endif

// Rows of I numbers as T, filled up with zeros -> to (rows, m.row), and their scales. A row's numbers stand in `parts`.
template <class T>
TARGET static void put_rows(const Maxout& m, long rows, const std::vector<Part>& parts, T* to, float* by) {
    const AlignedBuffer<float> row(m.row);
    for (long r = 0; r < rows; r++, to += m.row) {
        float* at = row.get();
        for (const Part& part : parts) {
            memcpy(at, part.rows[r], part.width * sizeof(float));
            at += part.width;
        }
        put(to, row.get(), m.K, by + r);
    }
}

// Inputs in parts, I of a row -> y (rows, O).
template <class T>
TARGET static void maxout_rows(const Maxout& m, long rows, const std::vector<Part>& parts, float* y) {
    const AlignedBuffer<T> inputs((rows + Size<T>::spare) * m.row, false);
    const AlignedBuffer<float> by(rows, false);
    put_rows(m, rows, parts, inputs.get(), by.get());
    maxout_sums<T>(m, rows, inputs.get(), by.get(), y);
    for (long r = 0; m.normalizes && r < rows; r++, y += m.O) {
        const Moments found = moments(y, m.O, m.epsilon);
        const V scale = set1(found.scale), mean = set1(found.mean);
        for (long i = 0; i < m.O; i += LANES) {
            V even = mul(sub(load_some(y + i, m.O - i), mean), scale);
            store_some(y + i, fma(even, load(m.gain.get() + i), load(m.shift.get() + i)), m.O - i);
        }
    }
}
