// Products of rows with packed weights. Included once for each instruction set, behind its vectors.
//
// Each sum runs over its inputs in one order, one after another in one lane. How many rows share a tile is then
// free, and changes no bit of any row.

constexpr long AHEAD = 4096;  // bytes of weights: what memory delivers while it is asked for more

// Fetches weights at step i of n of a tile of R rows. With few rows there is little to do meanwhile: all that a
// step reads, some steps ahead of `w`, in the end of `next`. With more, other tiles read the same: a line of `next`,
// their share.
template <int R, int G>
INLINE void fetch(const void* w, const char* next, long i, long n) {
    constexpr long STEP = G * LANES * sizeof(float), STEPS = AHEAD / STEP;
    if (R >= 3) {
        __builtin_prefetch(next + i * CACHE_LINE);
        return;
    }
    const char* from = i + STEPS < n ? (const char*)w + AHEAD : next + (i + STEPS - n) * STEP;
    for (long at = 0; at < STEP; at += CACHE_LINE) __builtin_prefetch(from + at);
}

// acc[r][g] += x[r][0..k] * w[0..k][g], for the G registers of a block. next: weights that will be wanted soon.
template <int R, int G>
INLINE void multiply(V (&acc)[R][G], const float* x, long x_row, const float* w, long k, Scales, const char* next) {
    for (long i = 0; i < k; i++, w += G * LANES) {
        fetch<R, G>(w, next, i, k);
        V weights[G];
        UNROLL for (int g = 0; g < G; g++) weights[g] = load(w + g * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            V b = set1(x[r * x_row + i]);
            UNROLL for (int g = 0; g < G; g++) acc[r][g] = fma(weights[g], b, acc[r][g]);
        }
    }
}

template <int R, int G>
INLINE void multiply(V (&acc)[R][G], const bf16* x, long x_row, const bf16* w, long k, Scales, const char* next) {
    for (long i = 0; i < k; i += 2, w += 2 * G * LANES) {
        fetch<R, G>(w, next, i / 2, k / 2);
        Pairs weights[G];
        UNROLL for (int g = 0; g < G; g++) weights[g] = load_pairs(w + 2 * g * LANES);
        UNROLL for (int r = 0; r < R; r++) {
            Pairs b = set1_pairs(x + r * x_row + i);
            UNROLL for (int g = 0; g < G; g++) acc[r][g] = dot(acc[r][g], weights[g], b);
        }
    }
}

constexpr int SPAN = 4;

template <int R, int G>
INLINE void add_pair(Whole (&sums)[R][G], const int16_t* x, long x_row, const int16_t* w) {
    Words weights[G];
    UNROLL for (int g = 0; g < G; g++) weights[g] = load_pairs(w + 2 * g * LANES);
    UNROLL for (int g = 0; g < G; g++) keep(weights[g]);
    UNROLL for (int r = 0; r < R; r++) {
        Words b = set1_pairs(x + r * x_row);
        UNROLL for (int g = 0; g < G; g++) sums[r][g] = dot(sums[r][g], weights[g], b);
    }
}

template <int R, int G>
INLINE void multiply(V (&acc)[R][G], const int16_t* x, long x_row, const int16_t* w, long k, Scales by,
                     const char* next) {
    for (long done = 0; done < k; done += EXACT) {
        const long end = k - done < EXACT ? k : done + EXACT;
        Whole sums[R][G];
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int g = 0; g < G; g++) sums[r][g] = nothing();
        long i = done;
        for (; R > 1 && i + 2 * SPAN <= end; i += 2 * SPAN, w += 2 * SPAN * G * LANES) {
            __builtin_prefetch(next + i / 2 / SPAN * CACHE_LINE);
            UNROLL for (int j = 0; j < SPAN; j++) add_pair<R, G>(sums, x + i + 2 * j, x_row, w + 2 * j * G * LANES);
        }
        for (; i < end; i += 2, w += 2 * G * LANES) {
            if (R == 1) fetch<R, G>(w, next, i / 2, k / 2);
            add_pair<R, G>(sums, x + i, x_row, w);
        }
        UNROLL for (int r = 0; r < R; r++) {
            const V row = set1(by.rows[r]);
            UNROLL for (int g = 0; g < G; g++)
                acc[r][g] = fma(mul(to_floats(sums[r][g]), load(by.weights + g * LANES)), row, acc[r][g]);
        }
    }
}

// Sums of R rows over k inputs, from `from` on (0: a row's stride, for a bias).
template <int R, int G, class T>
INLINE void sums_of(V (&acc)[R][G], const float* from, long from_row, const T* x, long x_row, const T* w, long k,
                    Scales by, const char* next) {
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < G; g++) acc[r][g] = load(from + r * from_row + g * LANES);
    multiply<R, G>(acc, x, x_row, w, k, by, next);
}

template <int R, int G>
INLINE void store_sums(const V (&acc)[R][G], float* to, long to_row) {
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < G; g++) store(to + r * to_row + g * LANES, acc[r][g]);
}

// The same, to `to`.
template <class T, int R, int G>
TARGET NOINLINE void sum_tile(
    const float* from, long from_row, const T* x, long x_row, const T* w, long k, Scales by, float* to, long to_row,
    const char* next) {
    V acc[R][G];
    sums_of(acc, from, from_row, x, x_row, w, k, by, next);
    store_sums(acc, to, to_row);
}

INLINE void store_as(float* p, V x) { store(p, x); }
INLINE void store_as(bf16* p, V x) { store_bf16(p, x); }
INLINE void store_as(int16_t* p, V x) { store_int16(p, mul(x, set1(MOST_INPUT))); }  // of -1 to 1

// Calls TILE<R>(r, ...) for rows 0..n in tiles of at most `most` rows, MOST_ROWS or fewer, as equal as they can be.
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

constexpr int MOST_ROWS = 6;  // of a tile: see IN_TILES

// Rows of a tile whose blocks have G registers: as many sums as with GATES.
template <class T, int G>
constexpr int rows_for() {
    constexpr int rows = (GATES * Size<T>::rows + G - 1) / G;
    return rows < MOST_ROWS ? rows : MOST_ROWS;
}

static inline Scales scales_at(Scales by, long r) { return {by.rows ? by.rows + r : nullptr, by.weights}; }

static inline long smaller(long a, long b) { return a < b ? a : b; }
static inline long larger(long a, long b) { return a < b ? b : a; }

// While rows r.. go over `some` inputs, they fetch the weights that are wanted next: the first tiles a share
// each, so that whichever comes first finds all of them near.
template <int G, class T>
INLINE const char* next_weights(const T* next, long some, long r) {
    const long size = G * LANES * (long)sizeof(T), shares = 4 * rows_for<T, G>();
    return (const char*)next + (r < shares ? r * some * size / shares : 0);
}

// Sums of n rows over k inputs, for one block of weights of G registers. k may be 0. first: as `from` of sums_of.
// after: the weights that are wanted after these.
template <class T, int G = GATES>
TARGET NOINLINE void sum_rows(
    const float* first, long first_row, const T* x, long x_row, const T* w, long k, Scales by, const T* after,
    float* to, long to_row, long n) {
    const float* from = first;
    long from_row = first_row;
    for (long done = 0; done < k; done += Size<T>::segment) {
        long some = smaller(k - done, Size<T>::segment);
        const T* next = done + some < k ? w + (done + some) * G * LANES : after;
#define TILE(R) sum_tile<T, R, G>(from + r * from_row, from_row, x + r * x_row + done, x_row, w + done * G * LANES, some, \
                                  scales_at(by, r), to + r * to_row, to_row, next_weights<G>(next, some, r))
        IN_TILES(n, (rows_for<T, G>()), TILE)
#undef TILE
        from = to;
        from_row = to_row;
    }
}
