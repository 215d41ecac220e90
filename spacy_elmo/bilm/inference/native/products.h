// Products of rows with packed weights. Included once for each instruction set, behind its vectors.
//
// Each sum runs over its inputs in one order, one after another in one lane. How many rows share a tile is then
// free, and changes no bit of any row.

constexpr long AHEAD = 4096;  // bytes of weights: what memory delivers while it is asked for more

// Fetches weights at step i of n of a tile of R rows. With few rows there is little to do meanwhile: all that a
// step reads, some steps ahead of `w`, in the end of `next`. With more, other tiles read the same: a line of `next`,
// their share.
template <int R>
INLINE void fetch(const void* w, const char* next, long i, long n) {
    constexpr long STEP = GATES * LANES * sizeof(float), STEPS = AHEAD / STEP;
    if (R >= 3) {
        __builtin_prefetch(next + i * LINE);
        return;
    }
    const char* from = i + STEPS < n ? (const char*)w + AHEAD : next + (i + STEPS - n) * STEP;
    for (long at = 0; at < STEP; at += LINE) __builtin_prefetch(from + at);
}

// acc[r][g] += x[r][0..k] * w[0..k][g]. next: weights that will be wanted soon.
template <int R>
INLINE void multiply(V (&acc)[R][GATES], const float* x, long x_row, const float* w, long k, Scales,
                     const char* next) {
    for (long i = 0; i < k; i++, w += GATES * LANES) {
        fetch<R>(w, next, i, k);
        V w0 = load(w), w1 = load(w + LANES), w2 = load(w + 2 * LANES), w3 = load(w + 3 * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            V b = set1(x[r * x_row + i]);
            acc[r][0] = fma(w0, b, acc[r][0]);
            acc[r][1] = fma(w1, b, acc[r][1]);
            acc[r][2] = fma(w2, b, acc[r][2]);
            acc[r][3] = fma(w3, b, acc[r][3]);
        }
    }
}

template <int R>
INLINE void multiply(V (&acc)[R][GATES], const bf16* x, long x_row, const bf16* w, long k, Scales,
                     const char* next) {
    for (long i = 0; i < k; i += 2, w += 2 * GATES * LANES) {
        fetch<R>(w, next, i / 2, k / 2);
        Pairs w0 = load_pairs(w), w1 = load_pairs(w + 2 * LANES);
        Pairs w2 = load_pairs(w + 4 * LANES), w3 = load_pairs(w + 6 * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            Pairs b = set1_pairs(x + r * x_row + i);
            acc[r][0] = dot(acc[r][0], w0, b);
            acc[r][1] = dot(acc[r][1], w1, b);
            acc[r][2] = dot(acc[r][2], w2, b);
            acc[r][3] = dot(acc[r][3], w3, b);
        }
    }
}

constexpr int SPAN = 4;

template <int R>
INLINE void add_pair(Whole (&sums)[R][GATES], const int16_t* x, long x_row, const int16_t* w) {
    Whole w0 = load_pairs(w), w1 = load_pairs(w + 2 * LANES);
    Whole w2 = load_pairs(w + 4 * LANES), w3 = load_pairs(w + 6 * LANES);
    keep(w0, w1, w2, w3);
    UNROLL for (int r = 0; r < R; r++) {
        Whole b = set1_pairs(x + r * x_row);
        sums[r][0] = dot(sums[r][0], w0, b);
        sums[r][1] = dot(sums[r][1], w1, b);
        sums[r][2] = dot(sums[r][2], w2, b);
        sums[r][3] = dot(sums[r][3], w3, b);
    }
}

template <int R>
INLINE void multiply(V (&acc)[R][GATES], const int16_t* x, long x_row, const int16_t* w, long k, Scales by,
                     const char* next) {
    for (long done = 0; done < k; done += EXACT) {
        const long end = k - done < EXACT ? k : done + EXACT;
        Whole sums[R][GATES];
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int g = 0; g < GATES; g++) sums[r][g] = nothing();
        long i = done;
        for (; R > 1 && i + 2 * SPAN <= end; i += 2 * SPAN, w += 2 * SPAN * GATES * LANES) {
            __builtin_prefetch(next + i / 2 / SPAN * LINE);
            UNROLL for (int j = 0; j < SPAN; j++) add_pair<R>(sums, x + i + 2 * j, x_row, w + 2 * j * GATES * LANES);
        }
        for (; i < end; i += 2, w += 2 * GATES * LANES) {
            if (R == 1) fetch<R>(w, next, i / 2, k / 2);
            add_pair<R>(sums, x + i, x_row, w);
        }
        UNROLL for (int r = 0; r < R; r++) {
            const V row = set1(by.rows[r]);
            UNROLL for (int g = 0; g < GATES; g++)
                acc[r][g] = fma(mul(to_floats(sums[r][g]), load(by.weights + g * LANES)), row, acc[r][g]);
        }
    }
}

// R rows of a block: sums from `from` (0: a row's stride, for a bias) on, k inputs further, to `to`.
template <class T, int R>
TARGET NOINLINE void sum_tile(
    const float* from, long from_row, const T* x, long x_row, const T* w, long k, Scales by, float* to, long to_row,
    const char* next) {
    V acc[R][GATES];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < GATES; g++) acc[r][g] = load(from + r * from_row + g * LANES);
    multiply<R>(acc, x, x_row, w, k, by, next);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < GATES; g++) store(to + r * to_row + g * LANES, acc[r][g]);
}

INLINE void store_as(float* p, V x) { store(p, x); }
INLINE void store_as(bf16* p, V x) { store_bf16(p, x); }
INLINE void store_as(int16_t* p, V x) { store_int16(p, mul(x, set1(MOST_INPUT))); }  // of -1 to 1

// Calls TILE<R>(r, ...) for rows 0..n in tiles of at most `most` rows, as equal as they can be.
#define IN_TILES(n, most, CALL)                                            \
    for (long r = 0, tiles = ((n) + (most) - 1) / (most); r < (n); tiles--) { \
        int R_ = (int)(((n) - r + tiles - 1) / tiles);                     \
        switch (R_) {                                                      \
            case 1: CALL(1); break;                                        \
            case 2: CALL(2); break;                                        \
            case 3: CALL(3); break;                                        \
            case 4: CALL(4); break;                                        \
            case 5: CALL(5); break;                                        \
            default: CALL(6);                                              \
        }                                                                  \
        r += R_;                                                           \
    }

template <class T>
struct Size;
template <>
struct Size<float> {
    static constexpr int rows = ROWS;
    static constexpr long segment = 2048 / LANES;  // inputs whose weights of a block fill 32 KiB
    static constexpr long spare = 0;               // see MOST_SPARE
};
template <>
struct Size<bf16> {
    static constexpr int rows = ROWS_BF16;
    static constexpr long segment = 4096 / LANES;
#ifdef NATIVE_AMX
    static constexpr long group = 32, spare = MOST_SPARE;
#else
    static constexpr long group = 2, spare = 0;
#endif
};
template <>
struct Size<int16_t> {
    static constexpr int rows = ROWS_INT16;
    static constexpr long segment = 4096 / LANES;  // a multiple of EXACT
    static constexpr long spare = 0;
};

static inline Scales scales_at(Scales by, long r) { return {by.rows ? by.rows + r : nullptr, by.weights}; }

static inline long smaller(long a, long b) { return a < b ? a : b; }
static inline long larger(long a, long b) { return a < b ? b : a; }

// While rows r.. go over `some` inputs, they fetch the weights that are wanted next: the first tiles a share
// each, so that whichever comes first finds all of them near.
template <class T>
INLINE const char* next_weights(const T* next, long some, long r) {
    const long size = GATES * LANES * (long)sizeof(T), shares = 4 * Size<T>::rows;
    return (const char*)next + (r < shares ? r * some * size / shares : 0);
}

// Sums of n rows over k inputs, for one block of weights. k may be 0. first: as `from` of sum_tile.
// after: the weights that are wanted after these.
template <class T>
TARGET NOINLINE void sum_rows(
    const float* first, long first_row, const T* x, long x_row, const T* w, long k, Scales by, const T* after,
    float* to, long to_row, long n) {
    const float* from = first;
    long from_row = first_row;
    for (long done = 0; done < k; done += Size<T>::segment) {
        long some = smaller(k - done, Size<T>::segment);
        const T* next = done + some < k ? w + (done + some) * GATES * LANES : after;
#define TILE(R) sum_tile<T, R>(from + r * from_row, from_row, x + r * x_row + done, x_row, \
                               w + done * GATES * LANES, some, scales_at(by, r), to + r * to_row, to_row, \
                               next_weights(next, some, r))
        IN_TILES(n, Size<T>::rows, TILE)
#undef TILE
        from = to;
        from_row = to_row;
    }
}
