// Includes per_target-inl.h once for each target that the compiler can build, best last. See target.h.

// clang-format off
#define ELMO_TARGET ELMO_TARGET_PLAIN
#include "per_target-inl.h"

#if defined(__x86_64__)

#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_AVX2
#define ELMO_TARGET_TOGGLE
#include "per_target-inl.h"

#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_AVX512
#undef ELMO_TARGET_TOGGLE
#include "per_target-inl.h"

#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_AVX512VNNI
#define ELMO_TARGET_TOGGLE
#include "per_target-inl.h"

#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_AVX512BF16
#undef ELMO_TARGET_TOGGLE
#include "per_target-inl.h"

#if ELMO_COMPILES_AMX
#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_AMX
#define ELMO_TARGET_TOGGLE
#include "per_target-inl.h"
#endif

#elif defined(__aarch64__)

#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_NEON
#define ELMO_TARGET_TOGGLE
#include "per_target-inl.h"

#undef ELMO_TARGET
#define ELMO_TARGET ELMO_TARGET_NEONBF16
#undef ELMO_TARGET_TOGGLE
#include "per_target-inl.h"

#endif
// clang-format on
