// Macros of the instruction set that code is being compiled for, its "target" (the scheme of Highway).
//
// foreach_target.h includes the kernel (per_target-inl.h) once for each target, with ELMO_TARGET set, and flips
// ELMO_TARGET_TOGGLE between two targets. A header *-inl.h is therefore read once for each target: its guard compares
// the toggle with its own macro. Included alone, by an editor or a test, it is compiled for ELMO_TARGET_PLAIN.
//
//   ELMO_NAMESPACE  the namespace of the target
//   ELMO_ATTR       functions that use its instructions
//   ELMO_INLINE     the same, always inlined
//   ELMO_VNNI, ELMO_BF16, ELMO_AMX  1 where it has these instructions, else 0

// No #pragma once: this header is read again for each target.
#define ELMO_TARGET_PLAIN 0
#define ELMO_TARGET_AVX2 1
#define ELMO_TARGET_AVX512 2
#define ELMO_TARGET_AVX512VNNI 3
#define ELMO_TARGET_AVX512BF16 4
#define ELMO_TARGET_AMX 5
#define ELMO_TARGET_NEON 6
#define ELMO_TARGET_NEONBF16 7

// Whether the compiler knows AMX, and the system can be asked for it.
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define ELMO_COMPILES_AMX 1
#else
#define ELMO_COMPILES_AMX 0
#endif

#ifndef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_PLAIN
#endif

#undef ELMO_NAMESPACE
#undef ELMO_FEATURES
#undef ELMO_ATTR
#undef ELMO_INLINE
#undef ELMO_VNNI
#undef ELMO_BF16
#undef ELMO_AMX

#define ELMO_VNNI (ELMO_TARGET >= ELMO_TARGET_AVX512VNNI && ELMO_TARGET <= ELMO_TARGET_AMX)
#define ELMO_BF16 \
    (ELMO_TARGET == ELMO_TARGET_AVX512BF16 || ELMO_TARGET == ELMO_TARGET_AMX || ELMO_TARGET == ELMO_TARGET_NEONBF16)
#define ELMO_AMX (ELMO_TARGET == ELMO_TARGET_AMX)

#if ELMO_TARGET == ELMO_TARGET_PLAIN
#define ELMO_NAMESPACE plain
#elif ELMO_TARGET == ELMO_TARGET_AVX2
#define ELMO_NAMESPACE avx2
#define ELMO_FEATURES "avx2,fma"
#elif ELMO_TARGET == ELMO_TARGET_AVX512
#define ELMO_NAMESPACE avx512
#define ELMO_FEATURES "avx512f,avx512bw,avx2,fma"
#elif ELMO_TARGET == ELMO_TARGET_AVX512VNNI
#define ELMO_NAMESPACE avx512vnni
#define ELMO_FEATURES "avx512f,avx512bw,avx512vnni,avx2,fma"
#elif ELMO_TARGET == ELMO_TARGET_AVX512BF16
#define ELMO_NAMESPACE avx512bf16
#define ELMO_FEATURES "avx512f,avx512vnni,avx512bf16,avx2,fma"
#elif ELMO_TARGET == ELMO_TARGET_AMX
#define ELMO_NAMESPACE amx
#define ELMO_FEATURES "amx-tile,amx-bf16,avx512f,avx512vnni,avx512bf16,avx2,fma"
#elif ELMO_TARGET == ELMO_TARGET_NEON
#define ELMO_NAMESPACE neon
#elif ELMO_TARGET == ELMO_TARGET_NEONBF16
#define ELMO_NAMESPACE neonbf16
#define ELMO_FEATURES "arch=armv8.2-a+bf16"
#else
#error "ELMO_TARGET is none of the above"
#endif

#ifdef ELMO_FEATURES
#define ELMO_ATTR __attribute__((target(ELMO_FEATURES)))
#define ELMO_INLINE static inline __attribute__((always_inline, target(ELMO_FEATURES)))
#else
#define ELMO_ATTR
#define ELMO_INLINE static inline __attribute__((always_inline))
#endif

#ifndef ELMO_NOINLINE
#define ELMO_NOINLINE __attribute__((noinline))
#if defined(__clang__)
#define ELMO_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ELMO_UNROLL _Pragma("GCC unroll 8")
#endif
// A loop over 0..n-1, n a constant of 8 at most, that is unrolled.
#define ELMO_UNROLLED_FOR(i, n) \
    ELMO_UNROLL                 \
    for (int i = 0; i < (n); i++)
#endif
