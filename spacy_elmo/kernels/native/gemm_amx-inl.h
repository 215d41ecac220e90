// Products of bf16 in the tiles of AMX: 16 rows by 16 outputs, 32 inputs at a time. Empty for other targets.
//
// A row's sum does not depend on the other rows of a tile. Its order differs from that of gemm-inl.h: of 32 inputs,
// even and odd ones are summed separately and then added. Loading a tile takes longer than multiplying it, so two tiles
// of rows are multiplied by two tiles of weights, and sums stay in tiles for as many inputs as the first-level cache
// holds.

#if defined(ELMO_GEMM_AMX_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_GEMM_AMX_INL_H_
#undef ELMO_GEMM_AMX_INL_H_
#else
#define ELMO_GEMM_AMX_INL_H_
#endif

#include <cstdint>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

#if ELMO_AMX

constexpr int64_t AMX_ROWS = 16, AMX_INPUTS = 32;  // of a tile
constexpr int64_t AMX_PASS_INPUTS = 512;           // two tiles of weights for so many inputs fill the first-level cache
constexpr int64_t HALF_BLOCK = BLOCK / 2;          // outputs whose weights stand together
static_assert(LANES == AMX_ROWS && AMX_INPUTS * sizeof(bf16) == CACHE_LINE, "a row of a tile is a cache line");
static_assert(AMX_PASS_INPUTS * HALF_BLOCK * sizeof(bf16) == L1_BYTES, "a pass fills the first-level cache");
static_assert(MAX_SPARE_ROWS == AMX_ROWS - 1 && TypeTraits<bf16>::k_multiple == AMX_INPUTS, "whole tiles");

// The compiler does not know about tiles: "memory" makes it write what they load.
#define ELMO_TILE_LOAD(tile, from, bytes) \
    asm volatile("tileloadd (%0,%1,1), %%tmm" #tile::"r"(from), "r"((int64_t)(bytes)) : "memory")
#define ELMO_TILE_STORE(tile, to, bytes) \
    asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((int64_t)(bytes)) : "memory")
#define ELMO_TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile::)
#define ELMO_TILE_DOT(sums, rows, weights) asm volatile("tdpbf16ps %%tmm" #weights ", %%tmm" #rows ", %%tmm" #sums::)

// Tiles 0 to 3 hold sums, 4 and 5 rows of inputs, 6 and 7 weights.
struct TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {};
    uint8_t rows[16] = {};
    explicit TileConfig(int64_t n) {
        for (int i = 0; i < 8; i++) {
            bytes_per_row[i] = CACHE_LINE;
            rows[i] = static_cast<uint8_t>(i < 6 ? n : AMX_ROWS);
        }
    }
};
static_assert(sizeof(TileConfig) == 64, "the operand of ldtilecfg");

static thread_local int64_t configured_rows = 0;

// Configure this thread's tiles for n rows, in as few and as equal tiles as possible. Return the rows of a tile. The
// last tile may reach past row n, by less than AMX_ROWS.
static int64_t configure_tiles(int64_t n) {
    const int64_t tiles = (n + AMX_ROWS - 1) / AMX_ROWS, rows = (n + tiles - 1) / tiles;
    if (rows != configured_rows) {
        const TileConfig config(rows);
        asm volatile("ldtilecfg %0" ::"m"(config));
        configured_rows = rows;
    }
    return rows;
}

// RAII scope for the use of tiles on this thread. The destructor releases the tile configuration.
struct TileScope {
    TileScope() = default;
    TileScope(const TileScope&) = delete;
    TileScope& operator=(const TileScope&) = delete;
    ~TileScope() {
        if (configured_rows) asm volatile("tilerelease" ::: "memory");
        configured_rows = 0;
    }
};

// Rows of inputs, in groups of AMX_INPUTS: `row` numbers from one row to the next, `group` from one group to the next.
// Their weights: (groups, AMX_INPUTS / 2, HALF_BLOCK, 2); those of the block's other half are `half` numbers after
// these.
struct PackedInputs {
    const bf16* x;
    int64_t row, group, n_groups;
    const bf16* weights;
    int64_t half;
    PackedInputs from_row(int64_t r) const { return {x + r * row, row, group, n_groups, weights, half}; }
    // Remove up to n groups from the front and return them.
    PackedInputs take(int64_t n) {
        PackedInputs taken = *this;
        taken.n_groups = min_of(n_groups, n);
        x += taken.n_groups * group;
        weights += taken.n_groups * AMX_INPUTS * HALF_BLOCK;
        n_groups -= taken.n_groups;
        return taken;
    }
};
constexpr PackedInputs NO_INPUTS = {nullptr, 0, 0, 0, nullptr, 0};

// Sums (_, row) in memory; null: they begin with zero.
struct Accumulators {
    float* data;
    int64_t row;
    Accumulators at(int64_t r, int64_t output = 0) const { return {data ? data + r * row + output : nullptr, row}; }
};

// Weights that are wanted next, from `next` on: each group of inputs fetches n_lines.
struct Prefetcher {
    const char* next;
    int64_t n_lines;
    void fetch() {
        for (const char* end = next + n_lines * CACHE_LINE; next < end; next += CACHE_LINE)
            __builtin_prefetch(next, 0, 2);
    }
};

// Tiles 0 and 1: two registers of outputs side by side; 2 and 3: two that stand `second` numbers after them.
ELMO_INLINE void load_tiles(Accumulators from, int64_t second) {
    const int64_t bytes = from.row * sizeof(float);
    if (from.data) {
        ELMO_TILE_LOAD(0, from.data, bytes);
        ELMO_TILE_LOAD(1, from.data + LANES, bytes);
        ELMO_TILE_LOAD(2, from.data + second, bytes);
        ELMO_TILE_LOAD(3, from.data + second + LANES, bytes);
    } else {
        ELMO_TILE_ZERO(0);
        ELMO_TILE_ZERO(1);
        ELMO_TILE_ZERO(2);
        ELMO_TILE_ZERO(3);
    }
}
ELMO_INLINE void store_tiles(Accumulators to, int64_t second) {
    const int64_t bytes = to.row * sizeof(float);
    ELMO_TILE_STORE(0, to.data, bytes);
    ELMO_TILE_STORE(1, to.data + LANES, bytes);
    ELMO_TILE_STORE(2, to.data + second, bytes);
    ELMO_TILE_STORE(3, to.data + second + LANES, bytes);
}

// Load a group of inputs into tile 4 and two tiles of weights into 6 and 7; add the products to tiles 0 and 1.
ELMO_INLINE void multiply_first(const bf16* x, int64_t row, const bf16* w) {
    ELMO_TILE_LOAD(4, x, row * sizeof(bf16));
    ELMO_TILE_LOAD(6, w, 2 * CACHE_LINE);
    ELMO_TILE_DOT(0, 4, 6);
    ELMO_TILE_LOAD(7, w + 2 * LANES, 2 * CACHE_LINE);
    ELMO_TILE_DOT(1, 4, 7);
}

// Two tiles of rows times one half of a block, over the inputs x and then h.
ELMO_ATTR static ELMO_NOINLINE void gemm_two_row_tiles(Accumulators init, PackedInputs x, PackedInputs h, int64_t rows,
                                                       int64_t half, Accumulators out, Prefetcher& prefetcher) {
    load_tiles(init, rows * init.row);
    for (const PackedInputs& in : {x, h}) {
        const bf16 *a = in.x, *b = a + rows * in.row, *w = in.weights + half * in.half;
        for (int64_t i = 0; i < in.n_groups; i++, a += in.group, b += in.group, w += AMX_INPUTS * HALF_BLOCK) {
            prefetcher.fetch();
            multiply_first(a, in.row, w);
            ELMO_TILE_LOAD(5, b, in.row * sizeof(bf16));
            ELMO_TILE_DOT(2, 5, 6);
            ELMO_TILE_DOT(3, 5, 7);
        }
    }
    store_tiles(out, rows * out.row);
}

// One tile of rows times both halves of a block.
ELMO_ATTR static ELMO_NOINLINE void gemm_one_row_tile(Accumulators init, PackedInputs x, PackedInputs h,
                                                      Accumulators out, Prefetcher& prefetcher) {
    load_tiles(init, HALF_BLOCK);
    for (const PackedInputs& in : {x, h}) {
        const bf16 *a = in.x, *w = in.weights;
        for (int64_t i = 0; i < in.n_groups; i++, a += in.group, w += AMX_INPUTS * HALF_BLOCK) {
            prefetcher.fetch();
            multiply_first(a, in.row, w);
            ELMO_TILE_LOAD(6, w + in.half, 2 * CACHE_LINE);
            ELMO_TILE_DOT(2, 4, 6);
            ELMO_TILE_LOAD(7, w + in.half + 2 * LANES, 2 * CACHE_LINE);
            ELMO_TILE_DOT(3, 4, 7);
        }
    }
    store_tiles(out, HALF_BLOCK);
}

// n rows times a block, over the inputs x and h: AMX_PASS_INPUTS of them at most. next: weights that are wanted next.
ELMO_ATTR static void gemm_pass(Accumulators init, PackedInputs x, PackedInputs h, const bf16* next, Accumulators out,
                                int64_t n) {
    constexpr int64_t group_lines = BLOCK * AMX_INPUTS * (int64_t)sizeof(bf16) / CACHE_LINE;
    const int64_t rows = configure_tiles(n), tiles = (n + rows - 1) / rows, pairs = tiles / 2;
    // With a single tile of rows the memory is busy with the pass's own weights.
    Prefetcher prefetcher = {(const char*)next, tiles > 1 ? (group_lines + tiles - 1) / tiles : 0};
    for (int64_t half = 0; half < 2; half++)
        for (int64_t i = 0; i < pairs; i++) {
            const int64_t r = 2 * rows * (half ? pairs - 1 - i : i), at = half * HALF_BLOCK;
            gemm_two_row_tiles(init.at(r, at), x.from_row(r), h.from_row(r), rows, half, out.at(r, at), prefetcher);
        }
    const int64_t r = 2 * rows * pairs;
    if (tiles % 2) gemm_one_row_tile(init.at(r), x.from_row(r), h.from_row(r), out.at(r), prefetcher);
}

// n rows times a block, over any number of inputs x and then h.
ELMO_ATTR static void gemm_block_amx(Accumulators init, PackedInputs x, PackedInputs h, const bf16* next,
                                     Accumulators out, int64_t n) {
    constexpr int64_t max_groups = AMX_PASS_INPUTS / AMX_INPUTS;
    for (bool first = true; x.n_groups + h.n_groups; first = false) {
        const bool fits = x.n_groups + h.n_groups <= max_groups;
        const PackedInputs own = x.take(max_groups), state = fits || !own.n_groups ? h.take(max_groups) : NO_INPUTS;
        const bf16* after = x.n_groups ? x.weights : h.n_groups ? h.weights : next;
        gemm_pass(first ? init : out, own, state, after, out, n);
    }
}

#else

struct TileScope {
    TileScope() {}
};

#endif  // ELMO_AMX

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
