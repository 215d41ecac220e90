// Products of bf16 in the tiles of AMX: 16 rows by 16 outputs, 32 inputs at a time. Included behind products.h where
// NATIVE_AMX is defined.
//
// A row's sum does not depend on the other rows of a tile. Its order is another than without tiles: of 32 inputs, even
// and odd ones are summed apart, and then added. To load tiles takes longer than to multiply them, so two of rows and two
// of weights are multiplied at once, and sums stay in tiles for as many inputs as the first-level cache has room for.

constexpr long TILE_ROWS = 16, TILE_INPUTS = 32;
constexpr long PASS = 512;           // inputs: two tiles of weights fill 32 KiB
constexpr long HALF = 2 * LANES;     // outputs of a half of a block, whose weights stand together

// The compiler knows nothing of tiles: "memory" keeps what it has to write before they are loaded.
#define TILE_LOAD(tile, from, bytes) \
    asm volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)(bytes)) : "memory")
#define TILE_STORE(tile, to, bytes) \
    asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((long)(bytes)) : "memory")
#define TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile ::)
#define TILE_DOT(sums, rows, weights) asm volatile("tdpbf16ps %%tmm" #weights ", %%tmm" #rows ", %%tmm" #sums ::)

// Tiles 0 to 3 hold sums, 4 and 5 rows of inputs, 6 and 7 weights.
struct TileShapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
    explicit TileShapes(long n) {
        for (int i = 0; i < 8; i++) {
            bytes[i] = CACHE_LINE;
            rows[i] = static_cast<uint8_t>(i < 6 ? n : TILE_ROWS);
        }
    }
};

static thread_local long rows_of_tiles = 0;

// Makes this thread's tiles fit for n rows, in as few as they can be, and as equal: their rows. The last may reach behind
// the n, by less than TILE_ROWS.
static long fit_tiles(long n) {
    const long tiles = (n + TILE_ROWS - 1) / TILE_ROWS, rows = (n + tiles - 1) / tiles;
    if (rows != rows_of_tiles) {
        const TileShapes shapes(rows);
        asm volatile("ldtilecfg %0" ::"m"(shapes));
        rows_of_tiles = rows;
    }
    return rows;
}

// While it lives, this thread may use tiles. Whoever uses them next finds them as they were: without a shape.
struct Tiles {
    Tiles() = default;
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles() {
        if (rows_of_tiles) asm volatile("tilerelease" ::: "memory");
        rows_of_tiles = 0;
    }
};

// Rows of inputs: `row` numbers from one to the next, `group` from one group of TILE_INPUTS to the next. Their weights:
// (groups, TILE_INPUTS / 2, HALF, 2), and those of the block's other half `half` numbers behind.
struct Inputs {
    const bf16* from;
    long row, group, groups;
    const bf16* weights;
    long half;
    Inputs at(long r) const { return {from + r * row, row, group, groups, weights, half}; }
    // Takes up to n groups away.
    Inputs take(long n) {
        Inputs taken = *this;
        taken.groups = smaller(groups, n);
        from += taken.groups * group;
        weights += taken.groups * TILE_INPUTS * HALF;
        groups -= taken.groups;
        return taken;
    }
};
constexpr Inputs NONE = {nullptr, 0, 0, 0, nullptr, 0};

// Sums, or null: they begin with zero.
struct Sums {
    float* from;
    long row;
    Sums at(long r, long output = 0) const { return {from ? from + r * row + output : nullptr, row}; }
};

// Weights that are wanted next, from `next` on: each group of inputs fetches as many lines.
struct Ahead {
    const char* next;
    long lines;
    void fetch() {
        for (const char* end = next + lines * CACHE_LINE; next < end; next += CACHE_LINE) __builtin_prefetch(next, 0, 2);
    }
};

// Tiles 0 to 3: two registers of outputs side by side, and two that stand `second` numbers behind.
INLINE void load_sums(Sums from, long second) {
    const long bytes = from.row * sizeof(float);
    if (from.from) {
        TILE_LOAD(0, from.from, bytes);
        TILE_LOAD(1, from.from + LANES, bytes);
        TILE_LOAD(2, from.from + second, bytes);
        TILE_LOAD(3, from.from + second + LANES, bytes);
    } else {
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
}
INLINE void store_sums(Sums to, long second) {
    const long bytes = to.row * sizeof(float);
    TILE_STORE(0, to.from, bytes);
    TILE_STORE(1, to.from + LANES, bytes);
    TILE_STORE(2, to.from + second, bytes);
    TILE_STORE(3, to.from + second + LANES, bytes);
}

// Tile 4 becomes a group of inputs, and is multiplied by two tiles of weights, 6 and 7, for sums 0 and 1.
INLINE void multiply_first(const bf16* rows, long row, const bf16* w) {
    TILE_LOAD(4, rows, row * sizeof(bf16));
    TILE_LOAD(6, w, 2 * CACHE_LINE);
    TILE_DOT(0, 4, 6);
    TILE_LOAD(7, w + 2 * LANES, 2 * CACHE_LINE);
    TILE_DOT(1, 4, 7);
}

// Sums of one half of a block, number `side`, for two tiles of rows, over the inputs x, and then h.
TARGET static NOINLINE void sum_two_tiles(Sums from, Inputs x, Inputs h, long rows, long side, Sums to, Ahead& ahead) {
    load_sums(from, rows * from.row);
    for (const Inputs& in : {x, h}) {
        const bf16 *a = in.from, *b = a + rows * in.row, *w = in.weights + side * in.half;
        for (long i = 0; i < in.groups; i++, a += in.group, b += in.group, w += TILE_INPUTS * HALF) {
            ahead.fetch();
            multiply_first(a, in.row, w);
            TILE_LOAD(5, b, in.row * sizeof(bf16));
            TILE_DOT(2, 5, 6);
            TILE_DOT(3, 5, 7);
        }
    }
    store_sums(to, rows * to.row);
}

// The same for one tile of rows and both halves.
TARGET static NOINLINE void sum_tile_of_rows(Sums from, Inputs x, Inputs h, Sums to, Ahead& ahead) {
    load_sums(from, 2 * LANES);
    for (const Inputs& in : {x, h}) {
        const bf16 *a = in.from, *w = in.weights;
        for (long i = 0; i < in.groups; i++, a += in.group, w += TILE_INPUTS * HALF) {
            ahead.fetch();
            multiply_first(a, in.row, w);
            TILE_LOAD(6, w + in.half, 2 * CACHE_LINE);
            TILE_DOT(2, 4, 6);
            TILE_LOAD(7, w + in.half + 2 * LANES, 2 * CACHE_LINE);
            TILE_DOT(3, 4, 7);
        }
    }
    store_sums(to, 2 * LANES);
}

// n rows of a block, over the inputs x and h: PASS of them at most. after: weights that are wanted after these.
TARGET static void sum_pass(Sums from, Inputs x, Inputs h, const bf16* after, Sums to, long n) {
    const long rows = fit_tiles(n), tiles = (n + rows - 1) / rows, both = tiles / 2;
    const long lines = 2 * HALF * TILE_INPUTS * (long)sizeof(bf16) / CACHE_LINE;  // of a group of inputs, and both halves
    Ahead ahead = {(const char*)after, tiles > 1 ? (lines + tiles - 1) / tiles : 0};  // one waits for its own weights
    for (long side = 0; side < 2; side++)
        for (long i = 0; i < both; i++) {
            const long r = 2 * rows * (side ? both - 1 - i : i), at = side * HALF;
            sum_two_tiles(from.at(r, at), x.at(r), h.at(r), rows, side, to.at(r, at), ahead);
        }
    const long r = 2 * rows * both;
    if (tiles % 2) sum_tile_of_rows(from.at(r), x.at(r), h.at(r), to.at(r), ahead);
}

// The same for any number of inputs.
TARGET static void sum_block(Sums from, Inputs x, Inputs h, const bf16* after, Sums to, long n) {
    const long most = PASS / TILE_INPUTS;
    for (bool first = true; x.groups + h.groups; first = false) {
        const bool fits = x.groups + h.groups <= most;
        const Inputs some = x.take(most), others = fits || !some.groups ? h.take(most) : NONE;
        const bf16* next = x.groups ? x.weights : h.groups ? h.weights : after;
        sum_pass(first ? from : to, some, others, next, to, n);
    }
}
