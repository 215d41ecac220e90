// Products of rows with packed weights, in vector registers.
//
// A microkernel (`accumulate`) multiplies a tile of R rows with one block of weights, G registers of outputs wide, and
// keeps the R x G sums in registers. Each sum runs over its inputs in one order, in one lane. How many rows share a
// tile is therefore free, and changes no bit of any row.

#if defined(ELMO_GEMM_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_GEMM_INL_H_
#undef ELMO_GEMM_INL_H_
#else
#define ELMO_GEMM_INL_H_
#endif

#include <cstdint>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t PREFETCH_DISTANCE = 4096;  // bytes of weights: what memory delivers while more of it is requested
constexpr int64_t L1_BYTES = 32 << 10;       // of the first-level data cache
constexpr int UNROLL_K = 4;                  // pairs of int16
constexpr int MAX_TILE_ROWS = 6;             // see ELMO_FOR_ROW_TILES

// tile_rows: rows of a tile for blocks of GATES registers. k_chunk: inputs whose weights of a block fill the
// first-level cache, so that all tiles of rows find them there. k_multiple: inputs that go together in a product.
// spare_rows: rows after the last one that are read and written.
template <class T>
struct TypeTraits;
template <>
struct TypeTraits<float> {
    static constexpr int tile_rows = TILE_ROWS_F32;
    static constexpr int64_t k_chunk = L1_BYTES / (BLOCK * sizeof(float)), k_multiple = 1, spare_rows = 0;
};
template <>
struct TypeTraits<bf16> {
    static constexpr int tile_rows = TILE_ROWS_BF16;
    static constexpr int64_t k_chunk = L1_BYTES / (BLOCK * sizeof(bf16));
#if ELMO_AMX
    static constexpr int64_t k_multiple = 32, spare_rows = MAX_SPARE_ROWS;
#else
    static constexpr int64_t k_multiple = 2, spare_rows = 0;
#endif
};
template <>
struct TypeTraits<int16_t> {
    static constexpr int tile_rows = TILE_ROWS_INT16;
    static constexpr int64_t k_chunk = L1_BYTES / (BLOCK * sizeof(int16_t)), k_multiple = 2, spare_rows = 0;
};
static_assert(TypeTraits<float>::tile_rows <= MAX_TILE_ROWS && TypeTraits<bf16>::tile_rows <= MAX_TILE_ROWS &&
                  TypeTraits<int16_t>::tile_rows <= MAX_TILE_ROWS,
              "ELMO_FOR_ROW_TILES has no larger tiles");
static_assert(TypeTraits<int16_t>::k_chunk % MAX_EXACT_K == 0, "a chunk of int16 is whole int32 sums");
static_assert(MAX_EXACT_K % (2 * UNROLL_K) == 0, "an int32 sum is whole unrolled steps");

// Rows of a tile whose blocks have G registers: about as many sums as with GATES.
template <class T, int G>
constexpr int tile_rows_for() {
    constexpr int rows = (GATES * TypeTraits<T>::tile_rows + G - 1) / G;
    return rows < MAX_TILE_ROWS ? rows : MAX_TILE_ROWS;
}

// One product: rows of x (_, k) times one block of weights, added to `init`. next: the weights that are wanted after
// these, to prefetch.
template <class T>
struct GemmArgs {
    const float* init;
    int64_t init_stride;  // numbers from one row to the next; 0: one row for all, as a bias is
    const T* x;
    int64_t x_stride;
    const T* weights;
    int64_t k;
    QuantScales scales;
    float* out;
    int64_t out_stride;
    const T* next;
};

// Prefetch weights at step i of n of a tile of R rows. A tile of 1 or 2 rows computes little meanwhile: it fetches all
// that a step reads, PREFETCH_DISTANCE ahead of w and then from `next` on. With more rows, the tiles share the work:
// each fetches one line of `next` a step.
template <int R, int G>
ELMO_INLINE void prefetch_step(const void* w, const char* next, int64_t i, int64_t n) {
    constexpr int64_t step = G * LANES * sizeof(float), n_ahead = PREFETCH_DISTANCE / step;
    if (R >= 3) {
        __builtin_prefetch(next + i * CACHE_LINE);
        return;
    }
    const char* from = i + n_ahead < n ? (const char*)w + PREFETCH_DISTANCE : next + (i + n_ahead - n) * step;
    for (int64_t at = 0; at < step; at += CACHE_LINE) __builtin_prefetch(from + at);
}

// sums[r][g] += x[r][0..k] * w[0..k][g] for the G registers of a block.
template <int R, int G>
ELMO_INLINE void accumulate(VF32 (&sums)[R][G], const float* x, int64_t x_stride, const float* w, int64_t k,
                            QuantScales, const char* next) {
    for (int64_t i = 0; i < k; i++, w += G * LANES) {
        prefetch_step<R, G>(w, next, i, k);
        VF32 weights[G];
        ELMO_UNROLLED_FOR (g, G) weights[g] = load(w + g * LANES);
        ELMO_UNROLLED_FOR (r, R) {
            VF32 b = set(x[r * x_stride + i]);
            ELMO_UNROLLED_FOR (g, G) sums[r][g] = mul_add(weights[g], b, sums[r][g]);
        }
    }
}

template <int R, int G>
ELMO_INLINE void accumulate(VF32 (&sums)[R][G], const bf16* x, int64_t x_stride, const bf16* w, int64_t k, QuantScales,
                            const char* next) {
    for (int64_t i = 0; i < k; i += 2, w += 2 * G * LANES) {
        prefetch_step<R, G>(w, next, i / 2, k / 2);
        VBF16x2 weights[G];
        ELMO_UNROLLED_FOR (g, G) weights[g] = load_pairs(w + 2 * g * LANES);
        ELMO_UNROLLED_FOR (r, R) {
            VBF16x2 b = broadcast_pair(x + r * x_stride + i);
            ELMO_UNROLLED_FOR (g, G) sums[r][g] = dot_add(sums[r][g], weights[g], b);
        }
    }
}

template <int R, int G>
ELMO_INLINE void accumulate_pair(VI32 (&sums)[R][G], const int16_t* x, int64_t x_stride, const int16_t* w) {
    VI16x2 weights[G];
    ELMO_UNROLLED_FOR (g, G) weights[g] = load_pairs(w + 2 * g * LANES);
    ELMO_UNROLLED_FOR (g, G) pin_register(weights[g]);
    ELMO_UNROLLED_FOR (r, R) {
        VI16x2 b = broadcast_pair(x + r * x_stride);
        ELMO_UNROLLED_FOR (g, G) sums[r][g] = dot_add(sums[r][g], weights[g], b);
    }
}

template <int R, int G>
ELMO_INLINE void accumulate(VF32 (&sums)[R][G], const int16_t* x, int64_t x_stride, const int16_t* w, int64_t k,
                            QuantScales scales, const char* next) {
    for (int64_t done = 0; done < k; done += MAX_EXACT_K) {
        const int64_t end = k - done < MAX_EXACT_K ? k : done + MAX_EXACT_K;
        VI32 exact[R][G];
        ELMO_UNROLLED_FOR (r, R) {
            ELMO_UNROLLED_FOR (g, G) exact[r][g] = zero_i32();
        }
        int64_t i = done;
        for (; R > 1 && i + 2 * UNROLL_K <= end; i += 2 * UNROLL_K, w += 2 * UNROLL_K * G * LANES) {
            __builtin_prefetch(next + i / 2 / UNROLL_K * CACHE_LINE);
            ELMO_UNROLLED_FOR (j, UNROLL_K)
                accumulate_pair<R, G>(exact, x + i + 2 * j, x_stride, w + 2 * j * G * LANES);
        }
        for (; i < end; i += 2, w += 2 * G * LANES) {
            if (R == 1) prefetch_step<R, G>(w, next, i / 2, k / 2);
            accumulate_pair<R, G>(exact, x + i, x_stride, w);
        }
        ELMO_UNROLLED_FOR (r, R) {
            const VF32 row = set(scales.inputs[r]);
            ELMO_UNROLLED_FOR (g, G)
                sums[r][g] = mul_add(mul(to_f32(exact[r][g]), load(scales.weights + g * LANES)), row, sums[r][g]);
        }
    }
}

// Sums of a tile in registers: R rows from row r on. next: its share of the weights to prefetch.
template <int R, int G, class T>
ELMO_INLINE void gemm_registers(VF32 (&sums)[R][G], const GemmArgs<T>& a, int64_t r, const char* next) {
    const float* init = a.init + r * a.init_stride;
    ELMO_UNROLLED_FOR (i, R) {
        ELMO_UNROLLED_FOR (g, G) sums[i][g] = load(init + i * a.init_stride + g * LANES);
    }
    accumulate<R, G>(sums, a.x + r * a.x_stride, a.x_stride, a.weights, a.k, a.scales.from_row(r), next);
}

template <int R, int G>
ELMO_INLINE void store_sums(const VF32 (&sums)[R][G], float* to, int64_t stride) {
    ELMO_UNROLLED_FOR (r, R) {
        ELMO_UNROLLED_FOR (g, G) store(to + r * stride + g * LANES, sums[r][g]);
    }
}

// A tile: R rows from row r on.
template <class T, int R, int G>
ELMO_ATTR ELMO_NOINLINE void gemm_tile(const GemmArgs<T>& a, int64_t r, const char* next) {
    VF32 sums[R][G];
    gemm_registers(sums, a, r, next);
    store_sums(sums, a.out + r * a.out_stride, a.out_stride);
}

// Call TILE(R) for rows 0..n in tiles of at most max_rows rows (MAX_TILE_ROWS or fewer), as equal as possible; `r` is
// the first row of the tile.
#define ELMO_FOR_ROW_TILES(n, max_rows, TILE)                                                \
    for (int64_t r = 0, n_tiles = ((n) + (max_rows) - 1) / (max_rows); r < (n); n_tiles--) { \
        const int tile_rows = (int)(((n) - r + n_tiles - 1) / n_tiles);                      \
        switch (tile_rows) {                                                                 \
            case 1: TILE(1); break;                                                          \
            case 2: TILE(2); break;                                                          \
            case 3: TILE(3); break;                                                          \
            case 4: TILE(4); break;                                                          \
            case 5: TILE(5); break;                                                          \
            default: TILE(6);                                                                \
        }                                                                                    \
        r += tile_rows;                                                                      \
    }

// Share of `next` that the tile from row r on prefetches while it goes over k inputs. The first tiles take a share
// each, so the tile that comes first after them finds all of the weights in the cache.
template <int G, class T>
ELMO_INLINE const char* next_share(const T* next, int64_t k, int64_t r) {
    const int64_t size = G * LANES * (int64_t)sizeof(T), n_shares = 4 * tile_rows_for<T, G>();
    return (const char*)next + (r < n_shares ? r * k * size / n_shares : 0);
}

// All of n rows, for one block of G registers. Chunks of k go over all rows before the next chunk. The arguments are
// passed by value, to be advanced where the caller wrote them: copies of what was just written stall the processor.
template <class T, int G = GATES>
ELMO_ATTR ELMO_NOINLINE void gemm_block(GemmArgs<T> chunk, int64_t n) {
    const T* after = chunk.next;
    for (int64_t left = chunk.k; left > 0; left -= chunk.k) {
        chunk.k = min_of(left, TypeTraits<T>::k_chunk);
        chunk.next = chunk.k < left ? chunk.weights + chunk.k * G * LANES : after;
#define ELMO_GEMM_TILE(R) gemm_tile<T, R, G>(chunk, r, next_share<G>(chunk.next, chunk.k, r))
        ELMO_FOR_ROW_TILES(n, (tile_rows_for<T, G>()), ELMO_GEMM_TILE)
#undef ELMO_GEMM_TILE
        chunk.x += chunk.k;
        chunk.weights += chunk.k * G * LANES;
        chunk.init = chunk.out;
        chunk.init_stride = chunk.out_stride;
    }
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
