// Operands of products in training, where weights change with every step. Included once for each instruction set, behind
// partial.h.
//
// A product is rows (n, K) times columns (K, N), whose outputs N stand in blocks. Either operand may be filled in pieces,
// and K may be weights' inputs, or the units of a batch. What is added up for an output runs over K in one order: no bit
// depends on how rows and blocks are shared among threads.

constexpr long BLOCK = GATES * LANES;  // outputs of a block
constexpr long GROUP = 32;             // inputs that stand together in a row

// pair: inputs of an output that stand side by side; wide: outputs that stand together; group: K is a multiple of it.
template <class T>
struct Pack;
template <>
struct Pack<float> {
    static constexpr long pair = 1, wide = BLOCK, group = 2;
};
template <>
struct Pack<bf16> {
#ifdef NATIVE_AMX
    static constexpr long pair = 2, wide = BLOCK / 2, group = GROUP;
#else
    static constexpr long pair = 2, wide = BLOCK, group = 2;
#endif
};

// Whether rows are read in tiles.
template <class T>
constexpr bool tiled() {
    return Pack<T>::group == GROUP;
}

// Rows of inputs, and behind the last of them Size<T>::spare more that are read, to no end. In tiles GROUP inputs of all
// rows may stand together.
template <class T>
struct RowsOf {
    T* data;
    long row, group;
    static RowsOf plain(T* data, long K) { return {data, K, GROUP}; }
    // In the order that is read fastest. rows: of the whole operand.
    static RowsOf grouped(T* data, long rows, long K) {
        if (tiled<T>()) return {data, GROUP, (rows + Size<T>::spare) * GROUP};
        return plain(data, K);
    }
    static long size(long rows, long K) { return (rows + Size<T>::spare) * static_cast<long>(round_up(K, GROUP)); }
    T* at(long r, long k) const { return data + r * row + k / GROUP * group + k % GROUP; }
    RowsOf from(long r) const { return {data + r * row, row, group}; }
};

// Columns of inputs: [N / wide][K / pair][wide][pair].
template <class T>
struct ColumnsOf {
    T* data;
    long K;
    static long size(long K, long N) { return K * static_cast<long>(round_up(N, BLOCK)); }
    T* at(long k, long output) const {
        constexpr long pair = Pack<T>::pair, wide = Pack<T>::wide;
        return data + output / wide * K * wide + k / pair * pair * wide + output % wide * pair + k % pair;
    }
};

// Sums of n rows over `size` inputs, for the block of outputs that begins at `output`; columns from input k on. adds: to
// what is there.
template <class T>
TARGET static void product(bool adds, RowsOf<T> x, long n, ColumnsOf<T> w, long k, long size, long output, float* to,
                           long to_row) {
    static const float zeros[BLOCK] = {};
    const T* weights = w.at(k, output);
    sum_rows<T>(adds ? to : zeros, adds ? to_row : 0, x.data, x.row, weights, size, {nullptr, nullptr},
                weights + size * BLOCK, to, to_row, n);
}

// The same over two operands, one after the other; `n` rows of each. second.data: null, if there is none.
template <class T>
TARGET static void product_of_two(RowsOf<T> first, ColumnsOf<T> w, RowsOf<T> second, ColumnsOf<T> v, long n, long output,
                                  const T*, float* to, long to_row) {
    product(false, first, n, w, 0, w.K, output, to, to_row);
    if (second.data) product(true, second, n, v, 0, v.K, output, to, to_row);
}

#ifdef NATIVE_AMX
INLINE Inputs inputs_of(RowsOf<bf16> x, ColumnsOf<bf16> w, long k, long size, long output) {
    return {x.data, x.row, x.group, size / GROUP, w.at(k, output), w.K * HALF};
}
template <>
TARGET void product<bf16>(bool adds, RowsOf<bf16> x, long n, ColumnsOf<bf16> w, long k, long size, long output, float* to,
                          long to_row) {
    const bf16* next = w.at(k, output + BLOCK);
    sum_block({adds ? to : nullptr, to_row}, inputs_of(x, w, k, size, output), NONE, next, {to, to_row}, n);
}
template <>
TARGET void product_of_two<bf16>(RowsOf<bf16> first, ColumnsOf<bf16> w, RowsOf<bf16> second, ColumnsOf<bf16> v, long n,
                                 long output, const bf16* next, float* to, long to_row) {
    const Inputs other = second.data ? inputs_of(second, v, 0, v.K, output) : NONE;
    sum_block({nullptr, 0}, inputs_of(first, w, 0, w.K, output), other, next, {to, to_row}, n);
}
#endif

// Inputs k and k + 1 of LANES outputs, k even. to: of input k.
INLINE void put_two(float* to, V a, V b) {
    store(to, a);
    store(to + Pack<float>::wide, b);
}
INLINE void put_two(bf16* to, V a, V b) {
    bf16 even[LANES], odd[LANES];
    uint32_t both[LANES];
    store_as(even, a);
    store_as(odd, b);
    for (long i = 0; i < LANES; i++) both[i] = even[i] | static_cast<uint32_t>(odd[i]) << 16;
    memcpy(to, both, sizeof(both));
}

// n numbers as T, and zeros behind them up to `size`.
template <class T>
INLINE void put_row(T* to, const float* from, long n, long size) {
    long i = 0;
    for (; i + LANES <= n; i += LANES) store_as(to + i, load(from + i));
    if (i < n) store_some(to + i, load_some(from + i, n - i), n - i);
    for (i = n; i < size; i++) to[i] = 0;
}

// The inputs of an output stand in a row: row_of(output) has n numbers, or is null for zeros.
template <class T, class Row>
TARGET static void pack_rows(const Row& row_of, long outputs, long n, ColumnsOf<T> to) {
    constexpr long pair = Pack<T>::pair;
    const AlignedBuffer<T> row(to.K);
    for (long o = 0; o < outputs; o++) {
        const float* from = row_of(o);
        put_row(row.get(), from, from ? n : 0, to.K);
        T* at = to.at(0, o);
        for (long k = 0; k < to.K; k += pair) memcpy(at + k * Pack<T>::wide, row.get() + k, pair * sizeof(T));
    }
}

// An input of all outputs stands in a row: row_of(k) has n numbers, or is null for zeros.
template <class T, class Row>
TARGET static void pack_columns(const Row& row_of, long n, ColumnsOf<T> to) {
    const long N = static_cast<long>(round_up(n, BLOCK));
    const AlignedBuffer<float> rows(2 * N);
    float *even = rows.get(), *odd = even + N;
    for (long k = 0; k < to.K; k += 2) {
        put_row(even, row_of(k), row_of(k) ? n : 0, N);
        put_row(odd, row_of(k + 1), row_of(k + 1) ? n : 0, N);
        for (long o = 0; o < N; o += LANES) put_two(to.at(k, o), load(even + o), load(odd + o));
    }
}

// Rows x (n, F), one in `x_row` numbers -> inputs k.. of rows `first`.. of `to`, which become its columns.
template <class T>
TARGET static void transpose(const T* x, long x_row, long n, long F, RowsOf<T> to, long first, long k) {
    for (long at = 0; at < n; at += GROUP) {
        const long some = smaller(GROUP, n - at);
        for (long f = 0; f < F; f++) {
            const T* from = x + at * x_row + f;
            T* row = to.at(first + f, k + at);  // k is a multiple of GROUP
            for (long i = 0; i < some; i++) row[i] = from[i * x_row];
        }
    }
}
