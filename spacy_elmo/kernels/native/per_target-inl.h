// All of the kernel that is compiled once for each target; see target.h.

#if defined(ELMO_PER_TARGET_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_PER_TARGET_INL_H_
#undef ELMO_PER_TARGET_INL_H_
#else
#define ELMO_PER_TARGET_INL_H_
#endif

#include <cstdint>

#include "compute_types.h"
#include "cross_entropy-inl.h"
#include "gemm-inl.h"
#include "lstm-inl.h"
#include "lstm_backward-inl.h"
#include "lstm_recurrence-inl.h"
#include "lstm_training-inl.h"
#include "maxout-inl.h"
#include "simd-inl.h"
#include "single_ops-inl.h"
#include "target.h"
#include "target_ops.h"
#include "token_ops-inl.h"

namespace elmo::ELMO_NAMESPACE {

template <class T>
constexpr TrainingOps training_ops() {
    return {lstm_workspace<T>, lstm_forward<T>, lstm_backward<T>, cross_entropy_workspace<T>, cross_entropy<T>};
}

constexpr TargetOps OPS = {
    LANES,
    TypeTraits<bf16>::k_multiple,
    run_direction,
    pool_tokens,
    scalar_mix,
    {maxout<float>, maxout<bf16>, maxout<int16_t>},
    {training_ops<float>(), training_ops<bf16>()},
    lstm_recurrence_forward,
    lstm_recurrence_backward,
    {matmul<float>, matmul<bf16>, matmul<int16_t>},
    {lstm_cells<float>, lstm_cells<bf16>, lstm_cells<int16_t>},
    {peak_products<float>, peak_products<bf16>, peak_products<int16_t>},
    read_memory,
};

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
