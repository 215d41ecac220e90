// The library: which instruction sets there are, a model packed for one of them, and batches run on it.
//
// A plain C interface, loaded with ctypes: it depends on no version of Python or torch.

#include "model.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <system_error>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define NOINLINE __attribute__((noinline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

namespace elmo {

template <class T>
static T convert(float x);
template <>
float convert<float>(float x) { return x; }
template <>
bf16 convert<bf16>(float x) { return to_bf16(x); }

static inline float to_float(float x) { return x; }
static inline float to_float(bf16 x) {
    uint32_t bits = static_cast<uint32_t>(x) << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

// clang-format off: the same kernel, once for each instruction set
#define INLINE static inline __attribute__((always_inline))
#define TARGET
namespace plain {
#include "vector_plain.h"
#include "lstm.h"
#include "training.h"
}
#undef INLINE
#undef TARGET

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx2,fma")))
namespace avx2 {
#include "vector_avx2.h"
#include "lstm.h"
#include "training.h"
}
#undef INLINE
#undef TARGET

#define TARGET __attribute__((target("avx512f,avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx2,fma")))
namespace avx512 {
#include "vector_avx512.h"
#include "lstm.h"
#include "training.h"
}
#undef INLINE
#undef TARGET

#define NATIVE_BF16
#define TARGET __attribute__((target("avx512f,avx512bf16,avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx512bf16,avx2,fma")))
namespace avx512bf16 {
#include "vector_avx512.h"
#include "lstm.h"
#include "training.h"
}
#undef INLINE
#undef TARGET
#endif
// clang-format on

// Of one instruction set; see training.h.
template <class T>
struct Training {
    void (*cells_forward)(long, long, const T*, const T*, const float*, T*, float*, T*);
    void (*cells_backward)(long, long, const T*, const float*, const float*, const T*, float*, T*);
    double (*cross_entropy)(long, long, T*, const float*, const int64_t*);
};

#define TRAINING(isa, T) {isa::cells_forward<T>, isa::cells_backward<T>, isa::cross_entropy<T>}
#define ISA(name, supported) \
    {#name, name::LANES, supported, name::run, TRAINING(name, float), TRAINING(name, bf16)}

struct Isa {
    const char* name;
    long lanes;
    bool (*supported)();
    void (*run)(const Task&);
    Training<float> single;
    Training<bf16> half;
};

static bool always() { return true; }
#if defined(__x86_64__)
static bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx512() { return has_avx2() && __builtin_cpu_supports("avx512f"); }
static bool has_avx512bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

// Best first.
static const Isa ISAS[] = {
#if defined(__x86_64__)
    ISA(avx512bf16, has_avx512bf16),
    ISA(avx512, has_avx512),
    ISA(avx2, has_avx2),
#endif
    ISA(plain, always),
};
constexpr int N_ISAS = sizeof(ISAS) / sizeof(Isa);

// Columns k0.. of a block of weights: rows of `w` (N, K) by lane of each of the four registers, -1: zeros.
template <class T>
static void pack_block(const float* w, long K, const long* rows, const float* scale, long lanes, T* to) {
    const long pair = sizeof(T) == 2 ? 2 : 1;
    for (long k = 0; k < K; k++)
        for (long i = 0; i < GATES * lanes; i++)
            if (rows[i] >= 0)
                to[((k / pair) * GATES * lanes + i) * pair + k % pair] =
                    convert<T>(w[rows[i] * K + k] * scale[i / lanes]);
}

// Gates as exponents of 2: sigmoid(x) = 1 / (1 + 2^(-x log2 e)), tanh(x) the same of 2x.
template <class T>
static void pack_layer(const Model& m, Layer& layer, const float* const* weights) {
    const float log2e = 1.44269504088896341f;
    const float exponents[GATES] = {-log2e, -log2e, -2 * log2e, -log2e}, as_they_are[GATES] = {1, 1, 1, 1};
    const long V = m.lanes, row = GATES * V, blocks = (m.H + V - 1) / V;
    std::vector<long> rows(row);
    layer.gates = Buffer<char>(blocks * 2 * m.K * row * sizeof(T));
    layer.bias = Buffer<float>(blocks * row);
    T* to = reinterpret_cast<T*>(layer.gates.get());
    for (long j = 0; j < blocks; j++, to += m.K * row) {
        for (long i = 0; i < row; i++) {
            long unit = j * V + i % V;
            rows[i] = unit < m.H ? i / V * m.H + unit : -1;
            if (unit < m.H) layer.bias.get()[j * row + i] = weights[2][rows[i]] * exponents[i / V];
        }
        pack_block<T>(weights[0], m.P, rows.data(), exponents, V, to);
        pack_block<T>(weights[1], m.P, rows.data(), exponents, V, to + blocks * m.K * row);
    }
    if (!m.projects) return;
    layer.project = Buffer<char>(m.P_row / row * m.M * row * sizeof(T));
    to = reinterpret_cast<T*>(layer.project.get());
    for (long first = 0; first < m.P; first += row, to += m.M * row) {
        for (long i = 0; i < row; i++) rows[i] = first + i < m.P ? first + i : -1;
        pack_block<T>(weights[3], m.H, rows.data(), as_they_are, V, to);
    }
}

// Rows first..last of the batch, in one direction.
static void run_slice(Task task, long first, long last) {
    task.rows = last - first;
    task.lengths += first;
    task.ids += first;
    task.out += first;
    ISAS[task.model->isa].run(task);
}

// Cuts a batch for each direction into slices of about as many units.
static std::vector<long> slices(const int64_t* lengths, long rows, long n) {
    int64_t units = 0, seen = 0;
    for (long r = 0; r < rows; r++) units += lengths[r];
    std::vector<long> cuts(1, 0);
    for (long r = 0; r < rows; r++) {
        seen += lengths[r];
        if (seen * n >= units * static_cast<int64_t>(cuts.size()) && r + 1 < rows) cuts.push_back(r + 1);
    }
    cuts.push_back(rows);
    return cuts;
}

constexpr long FEWEST_ROWS = 24;         // of a slice: with fewer, reading the weights is what takes the time
constexpr double WORTH_A_THREAD = 2e7;  // operations; starting one takes some ten microseconds

}  // namespace elmo

using namespace elmo;

#define PUBLIC __attribute__((visibility("default")))

extern "C" {

// Name of instruction set `isa`, best first; null behind the last.
PUBLIC const char* elmo_isa(int isa) { return isa < N_ISAS ? ISAS[isa].name : nullptr; }

PUBLIC int elmo_supported(int isa) { return isa < N_ISAS && ISAS[isa].supported(); }

// weights: w_ih (4H, P), w_hh (4H, P), bias (4H), w_hr (P, H) or null, for each layer of each direction, forward
// first. Clips: infinite for none. They are packed, not kept. Null: no memory.
PUBLIC void* elmo_new(int isa, int half, long layers, long P, long H, int skip, float cell_clip, float projection_clip,
                      const float* const* weights) try {
    const long V = ISAS[isa].lanes;
    Model* m = new Model();
    m->isa = isa;
    m->half = half;
    m->lanes = V;
    m->layers = layers;
    m->P = P;
    m->H = H;
    m->K = half ? round_up(P, 2) : P;
    m->M = half ? round_up(H, 2) : H;
    m->P_row = round_up(P, GATES * V);
    m->H_row = round_up(H, V) + LINE / sizeof(float);  // rows a power of 2 apart would share a set of the cache
    m->skip = skip;
    m->projects = weights[3] != nullptr;
    m->cell_clip = cell_clip;
    m->projection_clip = projection_clip;
    try {
        for (int side = 0; side < 2; side++) {
            for (long i = 0; i < layers; i++, weights += 4) {
                m->directions[side].emplace_back();
                if (half) pack_layer<bf16>(*m, m->directions[side].back(), weights);
                else pack_layer<float>(*m, m->directions[side].back(), weights);
            }
        }
    } catch (...) {
        delete m;
        throw;
    }
    return m;
} catch (const std::bad_alloc&) {
    return nullptr;
}

PUBLIC void elmo_free(void* model) { delete static_cast<Model*>(model); }

// See Task; both directions. ids: those of the forward direction, (rows,), and behind them the backward one's.
// threads: to use at most. Returns 0, or 1: no memory.
PUBLIC int elmo_encode(const void* model, long rows, const int64_t* lengths, const int64_t* const* ids,
                       const float* vectors, float scale, float* const* out, int threads) try {
    const Model* m = static_cast<const Model*>(model);
    double units = 0;
    for (long r = 0; r < rows; r++) units += static_cast<double>(lengths[r]);
    const double work = units * static_cast<double>(m->layers * 2 * (8 * m->P * m->H + m->P * m->H));
    if (work < WORTH_A_THREAD) threads = 1;
    long n = threads / 2;
    if (n > rows / FEWEST_ROWS) n = rows / FEWEST_ROWS;
    const std::vector<long> cuts = slices(lengths, rows, n < 1 ? 1 : n);
    const long tasks = 2 * (static_cast<long>(cuts.size()) - 1);
    std::atomic<long> next(0);
    std::atomic<bool> failed(false);
    auto work_on = [&] {
        for (long i; (i = next++) < tasks;) {
            try {
                Task task = {m, static_cast<int>(i % 2), rows, lengths, ids + i % 2 * rows, vectors, scale, out};
                run_slice(task, cuts[i / 2], cuts[i / 2 + 1]);
            } catch (const std::bad_alloc&) {
                failed = true;
            }
        }
    };
    std::vector<std::thread> others;
    for (long i = 1; i < threads && i < tasks; i++) {
        try {
            others.emplace_back(work_on);
        } catch (const std::system_error&) {
            break;  // no more threads to be had: the work is done with those that are there
        }
    }
    work_on();
    for (std::thread& other : others) other.join();
    return failed;
} catch (const std::bad_alloc&) {
    return 1;
}

// See training.h. half: of bf16, not float32.
PUBLIC void elmo_cells_forward(int isa, int half, long rows, long H, const void* x, const void* h, const float* before,
                               void* gates, float* c, void* m) {
    if (half)
        ISAS[isa].half.cells_forward(rows, H, (const bf16*)x, (const bf16*)h, before, (bf16*)gates, c, (bf16*)m);
    else
        ISAS[isa].single.cells_forward(rows, H, (const float*)x, (const float*)h, before, (float*)gates, c, (float*)m);
}

PUBLIC void elmo_cells_backward(int isa, int half, long rows, long H, const void* gates, const float* before,
                                const float* c, const void* d_m, float* d_c, void* d_sums) {
    if (half)
        ISAS[isa].half.cells_backward(rows, H, (const bf16*)gates, before, c, (const bf16*)d_m, d_c, (bf16*)d_sums);
    else
        ISAS[isa].single.cells_backward(rows, H, (const float*)gates, before, c, (const float*)d_m, d_c, (float*)d_sums);
}

PUBLIC double elmo_cross_entropy(int isa, int half, long rows, long size, void* logits, const float* bias,
                                 const int64_t* targets) {
    if (half) return ISAS[isa].half.cross_entropy(rows, size, (bf16*)logits, bias, targets);
    return ISAS[isa].single.cross_entropy(rows, size, (float*)logits, bias, targets);
}

}  // extern "C"
