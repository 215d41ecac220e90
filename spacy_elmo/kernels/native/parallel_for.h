// Independent tasks divided among threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>
#include <vector>

#include "thread_pool.h"

namespace elmo {

// Cut a batch into n slices of about as many units: the first row of each, and the end of the last one.
inline std::vector<int64_t> split_rows(const int64_t* lengths, int64_t n_rows, int64_t n) {
    int64_t n_units = 0, seen = 0;
    for (int64_t r = 0; r < n_rows; r++) n_units += lengths[r];
    std::vector<int64_t> cuts(1, 0);
    for (int64_t r = 0; r < n_rows; r++) {
        seen += lengths[r];
        if (seen * n >= n_units * static_cast<int64_t>(cuts.size()) && r + 1 < n_rows) cuts.push_back(r + 1);
    }
    cuts.push_back(n_rows);
    return cuts;
}

// Result of a function of the C interface. ../binding.py has the same numbers.
enum Status : int64_t { OK = 0, OUT_OF_MEMORY = 1, FAILED = 2 };

// Run task(i) for each i below n in up to max_threads threads: all of them, also if one throws.
template <class Task>
static Status parallel_for(int64_t max_threads, int64_t n, const Task& task) {
    std::atomic<int64_t> next(0);
    std::atomic<Status> status(OK);
    auto loop = [&] {
        for (int64_t i; (i = next++) < n;) {
            try {
                task(i);
            } catch (const std::bad_alloc&) {
                status = OUT_OF_MEMORY;
            } catch (...) {
                status = FAILED;
            }
        }
    };
    run_parallel(max_threads < n ? max_threads : n, [](int64_t) {}, [&](int64_t) { loop(); });
    return status;
}

}  // namespace elmo
