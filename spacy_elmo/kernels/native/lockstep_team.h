// Threads that go through the steps of one direction together, each with a share of every product.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#include "thread_pool.h"

namespace elmo {

class LockstepTeam {
  public:
    // Call work(thread) in up to max_threads threads; the caller is thread 0. An exception of one thread ends the work
    // of all, which would otherwise wait for it, and is thrown here.
    template <class Work>
    void run(int64_t max_threads, const Work& work) {
        run_parallel(
            max_threads, [this](int64_t n) { size_.store(n, std::memory_order_release); },
            [&](int64_t thread) {
                while (!size_.load(std::memory_order_acquire)) pause();
                try {
                    work(thread);
                } catch (const Broken&) {
                } catch (...) {
                    std::lock_guard<std::mutex> lock(mutex_);
                    if (!error_) error_ = std::current_exception();
                    broken_.store(true, std::memory_order_release);
                }
            });
        if (error_) std::rethrow_exception(error_);
    }

    int64_t size() const { return size_.load(std::memory_order_relaxed); }

    // First of the n items that belong to a thread; its last one is before share_begin(n, thread + 1).
    int64_t share_begin(int64_t n, int64_t thread) const { return n * thread / size(); }

    // Wait until all threads have arrived. Return true in thread 0, as soon as they have; return false in the others,
    // after thread 0 has called release().
    bool arrive_and_wait(int64_t thread) {
        const int64_t phase = phase_.load(std::memory_order_relaxed);
        if (!thread) {
            while (arrived_.load(std::memory_order_acquire) < size() - 1) wait_for_others();
            arrived_.store(0, std::memory_order_relaxed);
            return true;
        }
        arrived_.fetch_add(1, std::memory_order_acq_rel);
        while (phase_.load(std::memory_order_acquire) == phase) wait_for_others();
        return false;
    }
    void release() { phase_.fetch_add(1, std::memory_order_acq_rel); }

  private:
    struct Broken {};  // thrown in threads that wait for one that has failed

    void wait_for_others() const {
        if (broken_.load(std::memory_order_acquire)) throw Broken();
        pause();
    }
    // Spin: the others arrive within microseconds unless the system has taken their CPU. Yield now and then: with more
    // threads than CPUs, spinning alone takes three times as long.
    static void pause() {
        thread_local int64_t spins = 0;
        if (++spins % 256 == 0) std::this_thread::yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    std::atomic<int64_t> size_{0}, arrived_{0}, phase_{0};
    std::atomic<bool> broken_{false};
    std::exception_ptr error_;
    std::mutex mutex_;
};

}  // namespace elmo
