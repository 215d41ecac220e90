// The instruction sets ("targets") that the kernel is compiled for, best first.
#pragma once

#include <cstdint>

#include "compute_types.h"
#include "target_ops.h"

namespace elmo {

struct Target {
    const char* name;
    const TargetOps* ops;
    bool (*supported)();                    // by this processor and system
    ComputeType (*fastest_compute_type)();  // on this processor
};

extern const Target TARGETS[];
extern const int64_t N_TARGETS;

// Inputs that go together in a product.
inline int64_t k_multiple(const Target& target, ComputeType type) {
    return type == FLOAT32 ? 1 : type == BFLOAT16 ? target.ops->bf16_k_multiple : 2;
}

// Whether weights are packed for AMX tiles.
inline bool uses_tiles(const Target& target, ComputeType type) { return k_multiple(target, type) > 2; }

}  // namespace elmo
