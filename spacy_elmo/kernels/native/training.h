// What training does between its matrix products. Included once for each instruction set, behind lstm.h.

// LANES numbers, the first n of them from p.
template <class T>
INLINE V load_some(const T* p, long n) {
    if (n >= LANES) return load(p);
    T padded[LANES] = {};
    memcpy(padded, p, n * sizeof(T));
    return load(padded);
}
template <class T>
INLINE void store_some(T* p, V x, long n) {
    if (n >= LANES) {
        store_as(p, x);
        return;
    }
    T padded[LANES];
    store_as(padded, x);
    memcpy(p, padded, n * sizeof(T));
}

INLINE V sigmoid(V x) { return reciprocal(add(exp2<float>(mul(x, set1(-LOG2E))), set1(1.f))); }
INLINE V tangent(V x) {
    V e = exp2<float>(mul(x, set1(-2.f * LOG2E)));
    return mul(sub(set1(1.f), e), reciprocal(add(set1(1.f), e)));
}

// Calls CALL(j, n) for each LANES of 0..H: a known n where it is LANES, so that no part of it is in the way there.
#define IN_LANES(H, CALL)                                       \
    {                                                           \
        long at = 0;                                            \
        for (; at + LANES <= (H); at += LANES) CALL(at, LANES); \
        if (at < (H)) CALL(at, (H) - at);                       \
    }

template <class T>
INLINE void forward_some(long H, long n, const T* x, const T* h, const float* before, T* gates, float* c, T* m) {
    V sums[GATES];
    UNROLL for (int g = 0; g < GATES; g++) sums[g] = add(load_some(x + g * H, n), load_some(h + g * H, n));
    V i = sigmoid(sums[0]), f = sigmoid(sums[1]), g = tangent(sums[2]), o = sigmoid(sums[3]);
    V state = fma(f, load_some(before, n), mul(i, g));
    store_some(c, state, n);
    store_some(m, mul(o, tangent(state)), n);
    store_some(gates, i, n);
    store_some(gates + H, f, n);
    store_some(gates + 2 * H, g, n);
    store_some(gates + 3 * H, o, n);
}

// A step of `rows` cells: i, f, g, o of x + h, the next cell state, and o * tanh(c).
template <class T>
TARGET static void cells_forward(long rows, long H, const T* x, const T* h, const float* before, T* gates, float* c, T* m) {
#define SOME(j, n) forward_some<T>(H, n, x + (j), h + (j), before + (j), gates + (j), c + (j), m + (j))
    for (long row = 0; row < rows; row++, x += 4 * H, h += 4 * H, gates += 4 * H, before += H, c += H, m += H)
        IN_LANES(H, SOME)
#undef SOME
}

template <class T>
INLINE void backward_some(
    long H, long n, const T* gates, const float* before, const float* c, const T* d_m, float* d_c, T* d_sums) {
    const V one = set1(1.f);
    V i = load_some(gates, n), f = load_some(gates + H, n);
    V g = load_some(gates + 2 * H, n), o = load_some(gates + 3 * H, n);
    V t = tangent(load_some(c, n)), dm = load_some(d_m, n);
    V dc = fma(mul(dm, o), sub(one, mul(t, t)), load_some(d_c, n));
    store_some(d_sums, mul(mul(dc, g), mul(i, sub(one, i))), n);
    store_some(d_sums + H, mul(mul(dc, load_some(before, n)), mul(f, sub(one, f))), n);
    store_some(d_sums + 2 * H, mul(mul(dc, i), sub(one, mul(g, g))), n);
    store_some(d_sums + 3 * H, mul(mul(dm, t), mul(o, sub(one, o))), n);
    store_some(d_c, mul(dc, f), n);
}

// Its gradients. d_m: of o * tanh(c); d_c: of the cell state, from the next step in, to the one before out;
// d_sums: of x + h.
template <class T>
TARGET static void cells_backward(
    long rows, long H, const T* gates, const float* before, const float* c, const T* d_m, float* d_c, T* d_sums) {
#define SOME(j, n) backward_some<T>(H, n, gates + (j), before + (j), c + (j), d_m + (j), d_c + (j), d_sums + (j))
    for (long row = 0; row < rows; row++, gates += 4 * H, d_sums += 4 * H, before += H, c += H, d_m += H, d_c += H)
        IN_LANES(H, SOME)
#undef SOME
}

INLINE float largest(V x) {
    float lanes[LANES];
    store(lanes, x);
    float top = lanes[0];
    for (long i = 1; i < LANES; i++) top = lanes[i] > top || lanes[i] != lanes[i] ? lanes[i] : top;
    return top;
}
INLINE float total(V x) {
    float lanes[LANES];
    store(lanes, x);
    float sum = 0;
    for (long i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

// 2^x for x <= 0, 0 far below.
INLINE V exp2_below(V x) { return exp2<float>(at_least(x, set1(-126.f))); }

// Sum of -log softmax(logits + bias)[target] over the rows of (N, size); the logits become its gradient.
template <class T>
TARGET static double cross_entropy(long N, long size, T* logits, const float* bias, const int64_t* targets) {
    double loss = 0;
    const V scale = set1(LOG2E);
    for (long row = 0; row < N; row++, logits += size) {
        const long whole = size / LANES * LANES, target = targets[row];
        if (target < 0) {
            memset(logits, 0, size * sizeof(T));
            continue;
        }
        V top = set1(-3.4e38f);
        for (long j = 0; j < whole; j += LANES) {
            V x = add(load_some(logits + j, LANES), load(bias + j));
            top = at_least(x, top);
        }
        float peak = largest(top);
        for (long j = whole; j < size; j++) {
            float x = to_float(logits[j]) + bias[j];
            if (!(x <= peak)) peak = x;
        }
        const float of_target = to_float(logits[target]) + bias[target];
        V sums = set1(0.f);
        const V low = set1(peak);
        for (long j = 0; j < whole; j += LANES)
            sums = add(sums, exp2_below(mul(sub(add(load_some(logits + j, LANES), load(bias + j)), low), scale)));
        float sum = total(sums);
        for (long j = whole; j < size; j++) sum += std::exp(to_float(logits[j]) + bias[j] - peak);
        loss += std::log(sum) + peak - of_target;
        const float share = 1.f / sum;
        for (long j = 0; j < whole; j += LANES) {
            V x = mul(sub(add(load_some(logits + j, LANES), load(bias + j)), low), scale);
            store_as(logits + j, mul(exp2_below(x), set1(share)));
        }
        for (long j = whole; j < size; j++)
            logits[j] = convert<T>(std::exp(to_float(logits[j]) + bias[j] - peak) * share);
        // From the probability itself: that of a sure target, rounded, would leave no gradient.
        logits[target] = convert<T>(std::exp(of_target - peak) * share - 1.f);
    }
    return loss;
}
