// Thread pool of the process.
//
// Guarantees: run_parallel returns when all of its threads have finished. It works with fewer threads where the system
// gives no more, down to the caller alone. An exception of any thread is thrown in the caller. A forked child starts
// with an empty pool. Several callers may use the pool at once, each with threads of its own.
// Not guaranteed: which thread takes which share, or that two runs get the same number of threads.
//
// Threads stay alive, because a new thread often starts on the CPU of its creator and waits there until that one is
// done.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace elmo {

// Work of several threads: work(thread) of each. The caller waits for all of them and gets the first exception.
class ParallelJob {
  public:
    template <class Work>
    ParallelJob(const Work& work, int64_t n_threads)
        : work_(&work),
          call_([](const void* of, int64_t thread) { (*static_cast<const Work*>(of))(thread); }),
          running_(n_threads) {}
    void run(int64_t thread) noexcept {
        std::exception_ptr error;
        try {
            call_(work_, thread);
        } catch (...) {
            error = std::current_exception();
        }
        std::lock_guard<std::mutex> lock(mutex_);  // notify under the lock: afterwards the job may be gone
        if (error && !error_) error_ = error;
        if (!--running_) done_.notify_one();
    }
    void wait() noexcept {
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return !running_; });
    }
    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

  private:
    const void* work_;
    void (*call_)(const void*, int64_t);
    int64_t running_;
    std::exception_ptr error_;
    std::mutex mutex_;
    std::condition_variable done_;
};

// Affinity mask that keeps n worker threads off the caller's CPU when enough CPUs are available. Under a hypervisor,
// Linux otherwise tends to wake workers on the caller's CPU, because an idle vCPU looks preempted.
class CallerCpuExclusion {
  public:
#if defined(__linux__)
    explicit CallerCpuExclusion(int64_t n) : known_(!sched_getaffinity(0, sizeof(cpus_), &cpus_)) {
        const int caller = sched_getcpu();
        if (known_ && caller >= 0 && CPU_COUNT(&cpus_) > n) CPU_CLR(caller, &cpus_);
    }
    void apply(std::thread::native_handle_type thread) const {
        if (known_) pthread_setaffinity_np(thread, sizeof(cpus_), &cpus_);
    }

  private:
    cpu_set_t cpus_;
    bool known_;
#else
    explicit CallerCpuExclusion(int64_t) {}
    void apply(std::thread::native_handle_type) const {}
#endif
};

class Worker {
  public:
    Worker() {
        std::thread thread([this] { loop(); });
        handle_ = thread.native_handle();
        thread.detach();
    }
    void start(ParallelJob* job, int64_t thread, const CallerCpuExclusion& affinity) noexcept {
        affinity.apply(handle_);
        std::lock_guard<std::mutex> lock(mutex_);
        job_ = job;
        thread_ = thread;
        wake_.notify_one();
    }

  private:
    [[noreturn]] void loop() {
        for (;;) {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [this] { return job_; });
            ParallelJob* job = job_;
            job_ = nullptr;
            lock.unlock();
            job->run(thread_);
        }
    }
    std::thread::native_handle_type handle_;
    ParallelJob* job_ = nullptr;
    int64_t thread_ = 0;
    std::mutex mutex_;
    std::condition_variable wake_;
};

// The idle workers of this process. Never destroyed: workers wait until the process ends.
class ThreadPool {
  public:
    static ThreadPool& instance() { return *instance_pointer(); }

    // Return up to n workers: fewer if the system has no more.
    std::vector<Worker*> acquire(int64_t n) {
        std::vector<Worker*> workers;
        workers.reserve(n);
        std::lock_guard<std::mutex> lock(mutex_);
        while (static_cast<int64_t>(workers.size()) < n) {
            if (idle_.empty()) {
                try {
                    idle_.reserve(++n_workers_);  // so that release() allocates nothing
                    idle_.push_back(new Worker());
                } catch (const std::exception&) {
                    n_workers_--;
                    break;  // no more threads, or no memory for them
                }
            }
            workers.push_back(idle_.back());  // the one that was busy last: its cache is warm
            idle_.pop_back();
        }
        return workers;
    }
    void release(const std::vector<Worker*>& workers) noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        idle_.insert(idle_.end(), workers.rbegin(), workers.rend());
    }

  private:
    static ThreadPool*& instance_pointer() {
        static ThreadPool* pool = create_first();
        return pool;
    }
    // A forked child has none of its parent's threads, and perhaps a locked mutex: it gets a new pool.
    static ThreadPool* create_first() {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { instance_pointer() = new ThreadPool(); });
#endif
        return new ThreadPool();
    }
    std::mutex mutex_;
    std::vector<Worker*> idle_;
    size_t n_workers_ = 0;
};

// Created when the library is loaded: a fork while another thread creates it would leave the child waiting for ever.
static const ThreadPool& thread_pool_at_load = ThreadPool::instance();

// Waits for the workers of a job and releases them, also when the caller's own share throws: they use its stack.
class ScopedWorkers {
  public:
    ScopedWorkers(ParallelJob& job, const std::vector<Worker*>& workers) : job_(job), workers_(workers) {}
    ScopedWorkers(const ScopedWorkers&) = delete;
    ScopedWorkers& operator=(const ScopedWorkers&) = delete;
    ~ScopedWorkers() {
        job_.wait();
        ThreadPool::instance().release(workers_);
    }

  private:
    ParallelJob& job_;
    const std::vector<Worker*>& workers_;
};

// Run work(0) in this thread and work(1), work(2), ... in threads of the pool, max_threads at most. on_size_known(n) is
// called with the number of threads before work(0) begins. Rethrow the first exception when all threads are done.
template <class OnSizeKnown, class Work>
static void run_parallel(int64_t max_threads, const OnSizeKnown& on_size_known, const Work& work) {
    if (max_threads <= 1) {
        on_size_known(1);
        work(0);
        return;
    }
    const std::vector<Worker*> workers = ThreadPool::instance().acquire(max_threads - 1);
    const int64_t n = static_cast<int64_t>(workers.size());
    ParallelJob job(work, n);
    const CallerCpuExclusion affinity(n);
    for (int64_t i = 0; i < n; i++) workers[i]->start(&job, i + 1, affinity);
    {
        const ScopedWorkers scope(job, workers);
        on_size_known(n + 1);
        work(0);
    }
    job.rethrow();
}

}  // namespace elmo
