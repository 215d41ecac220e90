// Work cut into pieces, for several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>
#include <system_error>
#include <thread>
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

// Runs `work` for 0..tasks. Returns 0, or 1: no memory.
template <class Work>
static int in_threads(long threads, long tasks, const Work& work) {
    std::atomic<long> next(0);
    std::atomic<bool> failed(false);
    auto work_on = [&] {
        for (long i; (i = next++) < tasks;) {
            try {
                work(i);
            } catch (const std::bad_alloc&) {
                failed = true;
            }
        }
    };
    std::vector<std::thread> others;
    for (long i = 1; i < threads && i < tasks; i++) {
        try {
            others.emplace_back(work_on);
        } catch (const std::system_error&) {
            break;  // no more threads to be had: the work is done with those that are there
        }
    }
    work_on();
    for (std::thread& other : others) other.join();
    return failed;
}

}  // namespace elmo
