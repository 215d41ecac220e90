// Work cut into pieces, for several threads.
#pragma once

#include "crew.h"

#include <atomic>
#include <cstdint>
#include <new>
#include <vector>

namespace elmo {

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

// What a function of the library returns.
enum Outcome { DONE, NO_MEMORY, FAILED };

// Runs `work` for 0..tasks, all of them, whatever one throws.
template <class Work>
static Outcome in_threads(long threads, long tasks, const Work& work) {
    std::atomic<long> next(0);
    std::atomic<Outcome> outcome(DONE);
    auto work_on = [&] {
        for (long i; (i = next++) < tasks;) {
            try {
                work(i);
            } catch (const std::bad_alloc&) {
                outcome = NO_MEMORY;
            } catch (...) {
                outcome = FAILED;
            }
        }
    };
    on_threads(threads < tasks ? threads : tasks, [](long) {}, [&](long) { work_on(); });
    return outcome;
}

}  // namespace elmo
