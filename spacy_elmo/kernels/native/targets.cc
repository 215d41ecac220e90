// The kernel, compiled once for each target, and which of them the processor has.

#include "targets.h"

#include <cstddef>
#include <cstdint>

#include "compute_types.h"
#include "target.h"
#include "target_ops.h"

#if ELMO_COMPILES_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#undef ELMO_TARGET
#include "foreach_target.h"

namespace elmo {

static bool always() { return true; }
#if defined(__x86_64__)
static bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}
static bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
static bool has_avx512bf16() { return has_avx512vnni() && __builtin_cpu_supports("avx512bf16"); }
// Without tiles, Intel's products of bf16 have half the rate of those of float32.
static ComputeType fastest_of_avx512bf16() { return __builtin_cpu_is("intel") ? INT16 : BFLOAT16; }
#endif
#if ELMO_COMPILES_AMX
// The system has to allow tiles: it keeps 8 KiB more for each thread, and only for processes that ask.
static bool has_amx() {
    constexpr unsigned AMX_BF16_BIT = 1u << 22, AMX_TILE_BIT = 1u << 24;
    constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILE_DATA = 18;
    unsigned a, b, c, d;
    if (!has_avx512bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    return (d & AMX_BF16_BIT) && (d & AMX_TILE_BIT) &&
           !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA);
}
#endif
#if defined(__aarch64__)
static bool has_neonbf16() {
#if defined(__linux__)
    constexpr unsigned long HWCAP2_BF16_BIT = 1ul << 14;
    return getauxval(AT_HWCAP2) & HWCAP2_BF16_BIT;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof(has);
    return !sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) && has;
#else
    return false;
#endif
}
#endif

template <ComputeType type>
static ComputeType fastest() {
    return type;
}

const Target TARGETS[] = {
#if ELMO_COMPILES_AMX
    {"amx", &amx::OPS, has_amx, fastest<BFLOAT16>},
#endif
#if defined(__x86_64__)
    {"avx512bf16", &avx512bf16::OPS, has_avx512bf16, fastest_of_avx512bf16},
    {"avx512vnni", &avx512vnni::OPS, has_avx512vnni, fastest<INT16>},
    {"avx512", &avx512::OPS, has_avx512, fastest<FLOAT32>},
    {"avx2", &avx2::OPS, has_avx2, fastest<INT16>},
#elif defined(__aarch64__)
    {"neonbf16", &neonbf16::OPS, has_neonbf16, fastest<BFLOAT16>},
    {"neon", &neon::OPS, always, fastest<FLOAT32>},
#endif
    {"plain", &plain::OPS, always, fastest<FLOAT32>},
};
const int64_t N_TARGETS = sizeof(TARGETS) / sizeof(Target);

}  // namespace elmo
