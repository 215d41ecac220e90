// The functions that the kernel has for each target.
#pragma once

#include <cstdint>
#include <vector>

#include "args.h"
#include "compute_types.h"
#include "packed_model.h"
#include "parallel_for.h"

namespace elmo {

// Training functions of one compute type: see lstm_training-inl.h, lstm_backward-inl.h, cross_entropy-inl.h.
struct TrainingOps {
    void (*lstm_workspace)(const LSTMShape&, int64_t* bytes);
    Status (*lstm_forward)(const LSTMForwardArgs&);
    Status (*lstm_backward)(const LSTMBackwardArgs&);
    int64_t (*cross_entropy_workspace)(const CrossEntropyShape&);
    Status (*cross_entropy)(const CrossEntropyArgs&);
};

struct TargetOps {
    int64_t lanes;
    int64_t bf16_k_multiple;  // inputs that go together in a product of bf16
    void (*run_direction)(const DirectionArgs&);
    void (*pool_tokens)(const TokenAlignment&, float* out);
    void (*scalar_mix)(const MixArgs&, int64_t first, int64_t last, float* factors);
    void (*maxout[N_COMPUTE_TYPES])(const PackedMaxout&, int64_t n_rows, const std::vector<RowPart>&, float* out);
    TrainingOps training[2];  // float32, bf16
    Status (*lstm_recurrence_forward)(const LSTMRecurrenceArgs&);
    Status (*lstm_recurrence_backward)(const LSTMRecurrenceArgs&);
    void (*matmul[N_COMPUTE_TYPES])(const PackedMatrix&, const MatmulInputs&);
    void (*lstm_cells[N_COMPUTE_TYPES])(const LSTMCellArgs&);
    double (*peak_products[N_COMPUTE_TYPES])(int64_t repeats);
    double (*read_memory)(const float*, int64_t n);
};

}  // namespace elmo
