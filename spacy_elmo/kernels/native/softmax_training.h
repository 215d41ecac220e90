// The softmax over the units, its loss and its gradients. Included once for each instruction set, behind operands.h.
//
// Each logit becomes exp(logit - base) where it was computed. base is the logit of the target, so the loss is the logarithm
// of a sum. The target itself is left out of sums and products: the gradient of a sure one would be lost in rounding.
// Probabilities are never written: what they are divided by goes into the other operand of a product.

constexpr long SLICE = 256;           // predictions of a thread at once
constexpr long SLICE_UNITS = 512;     // units whose numbers are multiplied while they are near
constexpr long MOST_NUMBERS = 8 << 20;  // of a chunk: predictions times units
constexpr float MOST_EXPONENT = 100;  // of 2; where a sum is larger, base becomes the largest logit

template <class T>
struct Softmax {
    const SoftmaxLoss& a;
    long K, V, P_row, F, chunk, bytes;
    ColumnsOf<T> logits, back, numbers;  // weights (K, V) and (V, P); exponentials of a chunk (chunk, V)
    RowsOf<T> inputs;                    // (P + 1, chunk), each divided by its sum, and that itself
    T *x, *exponentials;                 // (chunk, K); of each slice (SLICE, SLICE_UNITS)
    float *bias, *base, *of_target, *sums, *d_x, *d_weight;
    float* left;                         // (n,) probability of all but the target
    Softmax(const SoftmaxLoss& loss, char* memory)
        : a(loss), K(round_up(a.P, Pack<T>::group)), V(round_up(a.V, larger(BLOCK, GROUP))), P_row(round_up(a.P, BLOCK)),
          F(a.P + 1), chunk(larger(1, smaller(8, MOST_NUMBERS / V / SLICE)) * SLICE) {
        long at = 0;
        const auto take = [&](long n, long size) {
            char* found = memory + at;
            at += round_up(n * size, CACHE_LINE);
            return found;
        };
        const long spare = Size<T>::spare, slices = chunk / SLICE;
        x = (T*)take((chunk + spare) * K, sizeof(T));
        logits = {(T*)take(ColumnsOf<T>::size(K, V), sizeof(T)), K};
        bias = (float*)take(V, sizeof(float));
        base = (float*)take(chunk, sizeof(float));
        of_target = (float*)take(chunk, sizeof(float));
        sums = (float*)take(chunk, sizeof(float));
        if (a.d_x) {
            exponentials = (T*)take(slices * RowsOf<T>::size(SLICE, SLICE_UNITS), sizeof(T));
            back = {(T*)take(ColumnsOf<T>::size(V, a.P), sizeof(T)), V};
            numbers = {(T*)take(ColumnsOf<T>::size(chunk, V), sizeof(T)), chunk};
            inputs = RowsOf<T>::grouped((T*)take(RowsOf<T>::size(F, chunk), sizeof(T)), F, chunk);
            d_x = (float*)take(slices * (SLICE + spare) * P_row, sizeof(float));
            d_weight = (float*)take(V * (F + spare), sizeof(float));
            left = (float*)take(a.n, sizeof(float));
        }
        bytes = at;
    }
};

template <class T>
static long softmax_room(const SoftmaxLoss& a) {
    return Softmax<T>(a, nullptr).bytes;
}

INLINE V as_product(V x, float) { return x; }
INLINE V as_product(V x, bf16) {
    bf16 rounded[LANES];
    store_as(rounded, x);
    return load(rounded);
}

// Prediction r of a chunk: its input as T, and the logit of its target, which is the base at first.
template <class T>
TARGET static void begin_row(const Softmax<T>& k, long begin, long r) {
    const SoftmaxLoss& a = k.a;
    const int64_t target = a.targets[begin + r];
    T* x = k.x + r * k.K;
    put_row(x, a.x + (begin + r) * a.P, a.P, k.K);
    const float* w = a.weight + (target < 0 ? 0 : target) * a.P;
    V sum = set1(0.f);
    for (long i = 0; i < a.P; i += LANES) {
        const long n = a.P - i;
        sum = fma(load_some(x + i, n), as_product(load_some(w + i, n), T()), sum);
    }
    k.base[r] = k.of_target[r] = total(sum) + (target < 0 ? 0 : a.bias[target]);
}

// exp(logit - base) of a block of units, from `output` on, of predictions first.. of a chunk. partial: (n, LANES) sums.
template <class T>
TARGET static void exponentiate(const Softmax<T>& k, long begin, long first, long n, long output, float* scores,
                                float* partial, RowsOf<T> rows, long column) {
    const V scale = set1(LOG2E), low = set1(-126.f), top = set1(MOST_EXPONENT);
    for (long r = 0; r < n; r++) {
        const int64_t place = k.a.targets[begin + first + r] - output;
        if (place >= 0 && place < BLOCK) scores[r * BLOCK + place] = -std::numeric_limits<float>::infinity();
    }
    for (long r = 0; r < n; r += 2) {
        V both[2][GATES];
        for (long i = 0; i < 2; i++) {
            const long at = r + i;
            if (at >= n) {
                for (long g = 0; g < GATES; g++) both[i][g] = set1(0.f);
                break;
            }
            const V base = set1(k.base[first + at]);
            V sum = load(partial + at * LANES);
            for (long g = 0; g < GATES; g++) {
                const V score = add(load(scores + at * BLOCK + g * LANES), load(k.bias + output + g * LANES));
                both[i][g] = exp2_within<T>(at_least(at_most(mul(sub(score, base), scale), top), low));
                sum = add(sum, both[i][g]);
                if (k.a.d_x) store_as(rows.at(at, column + g * LANES), both[i][g]);
            }
            store(partial + at * LANES, sum);
        }
        for (long g = 0; k.a.d_x && g < GATES; g++) put_two(k.numbers.at(first + r, output + g * LANES), both[0][g], both[1][g]);
    }
}

// The largest logit of those predictions whose sums are too large becomes their base.
template <class T>
TARGET static void raise_base(const Softmax<T>& k, long first, long n, float* scores) {
    std::vector<float> most(n, -std::numeric_limits<float>::infinity());
    for (long o = 0; o < k.a.V; o += BLOCK) {
        product(false, RowsOf<T>::plain(k.x + first * k.K, k.K), n, k.logits, 0, k.K, o, scores, BLOCK);
        for (long r = 0; r < n; r++)
            for (long i = 0; i < smaller(BLOCK, k.a.V - o); i++)
                most[r] = std::fmax(most[r], scores[r * BLOCK + i] + k.bias[o + i]);
    }
    for (long r = 0; r < n; r++)
        if (!(k.sums[first + r] < std::ldexp(1.f, static_cast<int>(MOST_EXPONENT)))) k.base[first + r] = most[r];
}

// Predictions first.. of a chunk: their sums without the target, and the products of their exponentials with the weights.
template <class T>
TARGET static bool sum_slice(const Softmax<T>& k, long begin, long first, long n, float* scores) {
    const long slice = first / SLICE;
    const AlignedBuffer<float> partial(n * LANES);
    const auto x = RowsOf<T>::plain(k.x + first * k.K, k.K);
    RowsOf<T> rows = x;
    if (k.a.d_x) rows = RowsOf<T>::grouped(k.exponentials + slice * RowsOf<T>::size(SLICE, SLICE_UNITS), SLICE, SLICE_UNITS);
    for (long unit = 0; unit < k.V; unit += SLICE_UNITS) {
        const long size = smaller(SLICE_UNITS, k.V - unit);
        for (long o = 0; o < size; o += BLOCK) {
            product(false, x, n, k.logits, 0, k.K, unit + o, scores, BLOCK);
            exponentiate(k, begin, first, n, unit + o, scores, partial.get(), rows, o);
        }
        float* d_x = k.d_x + slice * (SLICE + Size<T>::spare) * k.P_row;
        for (long p = 0; k.a.d_x && p < k.a.P; p += BLOCK) product(unit > 0, rows, n, k.back, unit, size, p, d_x + p, k.P_row);
    }
    bool fits = true;
    for (long r = 0; r < n; r++) {
        k.sums[first + r] = total(load(partial.get() + r * LANES));
        fits = fits && (k.a.targets[begin + first + r] < 0 || k.sums[first + r] < std::ldexp(1.f, static_cast<int>(MOST_EXPONENT)));
    }
    return fits;
}

// The gradient of a prediction's input, and the operand of those of the weights. Returns its loss.
template <class T>
TARGET static double finish_row(const Softmax<T>& k, long begin, long r) {
    const SoftmaxLoss& a = k.a;
    const int64_t target = a.targets[begin + r];
    const bool counts = target >= 0;
    const double above = k.of_target[r] - static_cast<double>(k.base[r]), of_target = std::exp(above);
    const double all = k.sums[r] + of_target;
    if (a.d_x) {
        const float share = counts ? static_cast<float>(1 / all) : 0, left = share * k.sums[r];
        k.left[begin + r] = left;
        const float *from = k.d_x + (r / SLICE * (SLICE + Size<T>::spare) + r % SLICE) * k.P_row;
        const float* w = a.weight + (counts ? target : 0) * a.P;
        float* to = a.d_x + (begin + r) * a.P;
        for (long i = 0; i < a.P; i++) to[i] = counts ? from[i] * share - left * w[i] : 0;
        T* x = k.x + r * k.K;
        for (long i = 0; i < k.K; i += LANES) store_some(x + i, mul(load_some(x + i, k.K - i), set1(share)), k.K - i);
        *k.inputs.at(a.P, r) = convert<T>(share);
    }
    return !counts ? 0 : above == 0 ? std::log1p(static_cast<double>(k.sums[r])) : std::log(all) - above;
}

// Gradients of the weights and of the bias, from those of all chunks; what the targets themselves bring is added.
template <class T>
TARGET static void write_softmax(const Softmax<T>& k) {
    const SoftmaxLoss& a = k.a;
    constexpr long SOME = 64;
    for (long o = 0; o < a.V; o += BLOCK) {
        const float* from = k.d_weight + o * (k.F + Size<T>::spare);
        for (long p = 0; p < a.P; p += SOME)
            for (long i = 0; i < smaller(BLOCK, a.V - o); i++)
                for (long j = p; j < smaller(a.P, p + SOME); j++) a.d_weight[(o + i) * a.P + j] = from[j * BLOCK + i];
        memcpy(a.d_bias + o, from + a.P * BLOCK, smaller(BLOCK, a.V - o) * sizeof(float));
    }
    for (long r = 0; r < a.n; r++) {
        if (a.targets[r] < 0) continue;
        const float left = k.left[r], *x = a.x + r * a.P;
        float* to = a.d_weight + a.targets[r] * a.P;
        for (long i = 0; i < a.P; i++) to[i] -= left * x[i];
        a.d_bias[a.targets[r]] -= left;
    }
}

template <class T>
TARGET static int softmax_loss(const SoftmaxLoss& a, double* loss) {
    const Softmax<T> k(a, a.work);
    const auto row = [&](long v) { return v < a.V ? a.weight + v * a.P : nullptr; };
    pack_rows(row, k.V, a.P, k.logits);
    if (a.d_x) pack_columns(row, a.P, k.back);
    for (long v = 0; v < k.V; v++) k.bias[v] = v < a.V ? a.bias[v] : -std::numeric_limits<float>::infinity();
    *loss = 0;
    for (long begin = 0; begin < a.n; begin += k.chunk) {
        const long n = smaller(k.chunk, a.n - begin), whole = round_up(n, GROUP);
        int failed = parallel_for(a.threads, (n + SLICE - 1) / SLICE, [&](long i) {
            const Tiles tiles;
            const long first = i * SLICE, own = smaller(SLICE, n - first);
            const AlignedBuffer<float> scores((own + MOST_SPARE) * BLOCK, false);
            for (long r = 0; r < own; r++) begin_row(k, begin, first + r);
            if (sum_slice(k, begin, first, own, scores.get())) return;
            raise_base(k, first, own, scores.get());
            sum_slice(k, begin, first, own, scores.get());
        });
        if (failed) return failed;
        for (long r = 0; r < n; r++) *loss += finish_row(k, begin, r);
        if (!a.d_x) continue;
        memset(k.x + n * k.K, 0, (whole - n) * k.K * sizeof(T));
        for (long r = n; r < whole; r++) *k.inputs.at(a.P, r) = 0;
        for (long r = even(n); r < whole; r += 2)
            for (long o = 0; o < k.V; o += LANES) put_two(k.numbers.at(r, o), set1(0.f), set1(0.f));
        parallel_for(a.threads, whole / GROUP, [&](long i) {
            transpose(k.x + i * GROUP * k.K, k.K, GROUP, a.P, k.inputs, 0, i * GROUP);
        });
        failed = parallel_for(a.threads, k.V / BLOCK, [&](long i) {
            const Tiles tiles;
            float* to = k.d_weight + i * BLOCK * (k.F + Size<T>::spare);
            product(begin > 0, k.inputs, k.F, k.numbers, 0, whole, i * BLOCK, to, BLOCK);
        });
        if (failed) return failed;
    }
    if (a.d_x) write_softmax(k);
    return 0;
}
