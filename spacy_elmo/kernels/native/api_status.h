// Exceptions inside the C interface become a Status.
#pragma once

#include <cstdint>
#include <new>

#include "parallel_for.h"

namespace elmo {

// Run work() -> Status. An exception becomes a Status.
template <class Work>
int64_t guarded(const Work& work) noexcept {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return OUT_OF_MEMORY;
    } catch (...) {
        return FAILED;
    }
}

// Run make() -> std::unique_ptr and hand the object over to the caller; null after an exception.
template <class Make>
void* guarded_new(const Make& make) noexcept {
    try {
        return make().release();
    } catch (...) {
        return nullptr;
    }
}

}  // namespace elmo
