// The kernel, compiled once for each instruction set, and the table of them.
#pragma once

#include "pack.h"
#include "shapes.h"
#include "lockstep_team.h"
#include "parallel_for.h"

#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

#define NOINLINE __attribute__((noinline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

namespace elmo {

static inline float to_float(float x) { return x; }
static inline float to_float(bf16 x) {
    uint32_t bits = static_cast<uint32_t>(x) << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

// Two numbers of 16 bits that stand side by side.
static inline int32_t two(const void* p) {
    int32_t bits;
    memcpy(&bits, p, 4);
    return bits;
}

// clang-format off: the same kernel, once for each instruction set
#define INLINE static inline __attribute__((always_inline))
#define TARGET
namespace plain {
#include "vector_plain.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx2,fma")))
namespace avx2 {
#include "vector_avx2.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET

#define TARGET __attribute__((target("avx512f,avx512bw,avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw,avx2,fma")))
namespace avx512 {
#include "vector_avx512.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET

#define NATIVE_VNNI
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vnni,avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vnni,avx2,fma")))
namespace avx512vnni {
#include "vector_avx512.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET

#define NATIVE_BF16
#define TARGET __attribute__((target("avx512f,avx512vnni,avx512bf16,avx2,fma")))
#define INLINE \
    static inline __attribute__((always_inline, target("avx512f,avx512vnni,avx512bf16,avx2,fma")))
namespace avx512bf16 {
#include "vector_avx512.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET

#ifdef HAS_AMX
#define NATIVE_AMX
#define TARGET __attribute__((target("amx-tile,amx-bf16,avx512f,avx512vnni,avx512bf16,avx2,fma")))
#define INLINE \
    static inline __attribute__((always_inline, target("amx-tile,amx-bf16,avx512f,avx512vnni,avx512bf16,avx2,fma")))
namespace amx {
#include "vector_avx512.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET
#endif

#elif defined(__aarch64__)
#define TARGET
#define INLINE static inline __attribute__((always_inline))
namespace neon {
#include "vector_neon.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET

#define NATIVE_BF16
#define TARGET __attribute__((target("arch=armv8.2-a+bf16")))
#define INLINE static inline __attribute__((always_inline, target("arch=armv8.2-a+bf16")))
namespace neonbf16 {
#include "vector_neon.h"
#include "kernel.h"
}
#undef INLINE
#undef TARGET
#endif
// clang-format on

// Of one instruction set; see lstm_training.h and softmax_training.h.
template <class T>
struct Training {
    long (*lstm_kept)(const LstmShape&);
    long (*lstm_work)(const LstmShape&);
    int (*lstm_forward)(const LstmShape&, const LstmForward&);
    int (*lstm_backward)(const LstmShape&, const LstmBackward&);
    long (*softmax_room)(const SoftmaxLoss&);
    int (*softmax_loss)(const SoftmaxLoss&, double*);
};

// See tasks.h.
struct Tasks {
    void (*token_layers)(const Tokens&, float*);
    void (*mix)(const float*, long, long, long, const float*, float, const float*, long, long, long, float*, Moments*,
                float*);
    void (*maxout[TYPES])(const Maxout&, long, const std::vector<Part>&, float*);
};

#define TRAINING(isa, T)                                                                         \
    {isa::lstm_kept<T>, isa::lstm_work<T>, isa::lstm_forward<T>, isa::lstm_backward<T>, isa::softmax_room<T>, \
     isa::softmax_loss<T>}
#define TASKS(isa)                           \
    {isa::token_layers, isa::mix_tokens, \
     {isa::maxout_rows<float>, isa::maxout_rows<bf16>, isa::maxout_rows<int16_t>}}
#define ISA(name, supported, fastest)                                                                \
    {#name, name::LANES, name::Size<bf16>::group, supported, fastest, name::run, TRAINING(name, float), \
     TRAINING(name, bf16), TASKS(name)}

struct Isa {
    const char* name;
    long lanes;
    long group;  // products of bf16 take so many inputs at a time
    bool (*supported)();
    Type (*fastest)();  // of products
    void (*run)(const Task&);
    Training<float> single;
    Training<bf16> half;
    Tasks tasks;
};

static bool always() { return true; }
#if defined(__x86_64__)
static bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}
static bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
static bool has_avx512bf16() { return has_avx512vnni() && __builtin_cpu_supports("avx512bf16"); }
// Outside of tiles Intel's products of bf16 have half the rate of those of float32.
static Type fastest_avx512bf16() { return __builtin_cpu_is("intel") ? INT16 : BFLOAT16; }
#endif
#if defined(HAS_AMX)
// Asks the system, too: it has to keep 8 KiB more for each thread, and does so only for those who asked.
static bool has_amx() {
    constexpr unsigned BF16 = 1u << 22, TILE = 1u << 24;
    constexpr long ASK = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    unsigned a, b, c, d;
    if (!has_avx512bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    return (d & BF16) && (d & TILE) && !syscall(SYS_arch_prctl, ASK, TILE_DATA);
}
#endif
#if defined(__aarch64__)
static bool has_neonbf16() {
#if defined(__linux__)
    constexpr unsigned long BF16 = 1ul << 14;  // HWCAP2_BF16
    return getauxval(AT_HWCAP2) & BF16;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof(has);
    return !sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) && has;
#else
    return false;
#endif
}
#endif
template <Type type>
static Type always_type() { return type; }

// Best first.
static const Isa ISAS[] = {
#if defined(__x86_64__)
#if defined(HAS_AMX)
    ISA(amx, has_amx, always_type<BFLOAT16>),
#endif
    ISA(avx512bf16, has_avx512bf16, fastest_avx512bf16),
    ISA(avx512vnni, has_avx512vnni, always_type<INT16>),
    ISA(avx512, has_avx512, always_type<FLOAT32>),
    ISA(avx2, has_avx2, always_type<INT16>),
#elif defined(__aarch64__)
    ISA(neonbf16, has_neonbf16, always_type<BFLOAT16>),
    ISA(neon, always, always_type<FLOAT32>),
#endif
    ISA(plain, always, always_type<FLOAT32>),
};
constexpr int N_ISAS = sizeof(ISAS) / sizeof(Isa);

// Inputs that go together in a product.
static long group_of(int isa, Type type) { return type == FLOAT32 ? 1 : type == BFLOAT16 ? ISAS[isa].group : 2; }

// Whether weights are packed for tiles.
static bool in_tiles(int isa, Type type) { return group_of(isa, type) > 2; }

}  // namespace elmo
