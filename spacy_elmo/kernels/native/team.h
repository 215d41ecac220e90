// Threads that go through the steps of one direction together, each with a share of every product.
#pragma once

#include "crew.h"

#include <atomic>

namespace elmo {

class Team {
  public:
    // Calls `work(me)` in up to `wanted` threads, this one among them as number 0. An exception of one of them ends the
    // work of all, who would wait for it otherwise, and is thrown here.
    template <class Work>
    void run(long wanted, const Work& work) {
        on_threads(
            wanted, [this](long n) { size_.store(n, std::memory_order_release); },
            [&](long me) {
                while (!size_.load(std::memory_order_acquire)) wait();
                try {
                    work(me);
                } catch (const Broken&) {
                } catch (...) {
                    std::lock_guard<std::mutex> lock(mutex_);
                    if (!error_) error_ = std::current_exception();
                    broken_.store(true, std::memory_order_release);
                }
            });
        if (error_) std::rethrow_exception(error_);
    }

    long size() const { return size_.load(std::memory_order_relaxed); }

    // Share `me` of n things begins here; it ends where the next one begins.
    long begin(long n, long me) const { return n * me / size(); }

    // All come here. For number 0 it is true, once all are here; for the others false, once that one has called go().
    bool meet(long me) {
        const long now = round_.load(std::memory_order_relaxed);
        if (!me) {
            while (arrived_.load(std::memory_order_acquire) < size() - 1) wait_for_others();
            arrived_.store(0, std::memory_order_relaxed);
            return true;
        }
        arrived_.fetch_add(1, std::memory_order_acq_rel);
        while (round_.load(std::memory_order_acquire) == now) wait_for_others();
        return false;
    }
    void go() { round_.fetch_add(1, std::memory_order_acq_rel); }

  private:
    struct Broken {};  // another one's exception has ended the work

    void wait_for_others() const {
        if (broken_.load(std::memory_order_acquire)) throw Broken();
        wait();
    }
    // A moment: the others are a microsecond away, unless the system has taken their processor. With more threads than
    // processors it takes three times as long if this is not soon given up.
    static void wait() {
        thread_local long waits = 0;
        if (++waits % 256 == 0) std::this_thread::yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    std::atomic<long> size_{0}, arrived_{0}, round_{0};
    std::atomic<bool> broken_{false};
    std::exception_ptr error_;
    std::mutex mutex_;
};

}  // namespace elmo
