// Threads that wait for work. A new one begins on the processor of whoever asked for it as often as not, and waits there
// until that one is done. So they stay, and are told where to run.
#pragma once

#include <condition_variable>
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

// What some threads work on together: work(me) of each. Its caller waits for all of them. The first exception of one
// of them is the caller's.
class Job {
  public:
    template <class Work>
    Job(const Work& work, long threads)
        : work_(&work), call_([](const void* of, long me) { (*static_cast<const Work*>(of))(me); }), left_(threads) {}
    void run(long me) noexcept {
        std::exception_ptr error;
        try {
            call_(work_, me);
        } catch (...) {
            error = std::current_exception();
        }
        std::lock_guard<std::mutex> lock(mutex_);  // notified while it is held: then the job may go
        if (error && !error_) error_ = error;
        if (!--left_) done_.notify_one();
    }
    void wait() noexcept {
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return !left_; });
    }
    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

  private:
    const void* work_;
    void (*call_)(const void*, long);
    long left_;
    std::exception_ptr error_;
    std::mutex mutex_;
    std::condition_variable done_;
};

// Where `n` threads run that help this one: elsewhere, if it may use as many processors. Left to itself Linux wakes them
// on this one when it is a guest: a processor that has slept for a while counts as one that its host has taken away.
class Elsewhere {
  public:
#if defined(__linux__)
    explicit Elsewhere(long n) : known_(!sched_getaffinity(0, sizeof(set_), &set_)) {
        const int here = sched_getcpu();
        if (known_ && here >= 0 && CPU_COUNT(&set_) > n) CPU_CLR(here, &set_);
    }
    void send(std::thread::native_handle_type thread) const {
        if (known_) pthread_setaffinity_np(thread, sizeof(set_), &set_);
    }

  private:
    cpu_set_t set_;
    bool known_;
#else
    explicit Elsewhere(long) {}
    void send(std::thread::native_handle_type) const {}
#endif
};

class Worker {
  public:
    Worker() {
        std::thread thread([this] { work(); });
        thread_ = thread.native_handle();
        thread.detach();
    }
    void start(Job* job, long me, const Elsewhere& elsewhere) noexcept {
        elsewhere.send(thread_);
        std::lock_guard<std::mutex> lock(mutex_);
        job_ = job;
        me_ = me;
        wake_.notify_one();
    }

  private:
    [[noreturn]] void work() {
        for (;;) {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [this] { return job_; });
            Job* job = job_;
            job_ = nullptr;
            lock.unlock();
            job->run(me_);
        }
    }
    std::thread::native_handle_type thread_;
    Job* job_ = nullptr;
    long me_ = 0;
    std::mutex mutex_;
    std::condition_variable wake_;
};

// Those of this process that have nothing to do. It is never taken down: they wait until the process ends.
class Crew {
  public:
    static Crew& own() { return *place(); }

    // Up to `wanted` of them: as many as are to be had.
    std::vector<Worker*> take(long wanted) {
        std::vector<Worker*> taken;
        taken.reserve(wanted);
        std::lock_guard<std::mutex> lock(mutex_);
        while (static_cast<long>(taken.size()) < wanted) {
            if (idle_.empty()) {
                try {
                    idle_.reserve(++all_);  // so that give() needs no memory
                    idle_.push_back(new Worker());
                } catch (const std::exception&) {
                    all_--;
                    break;  // no more threads, or no memory for them: the work is done with those that are there
                }
            }
            taken.push_back(idle_.back());  // who was busy last, and where the cache is warm
            idle_.pop_back();
        }
        return taken;
    }
    void give(const std::vector<Worker*>& taken) noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        idle_.insert(idle_.end(), taken.rbegin(), taken.rend());
    }

  private:
    static Crew*& place() {
        static Crew* crew = first();
        return crew;
    }
    // A child gets no threads from its parent's fork, and perhaps a locked mutex: it begins with a crew of its own.
    static Crew* first() {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { place() = new Crew(); });
#endif
        return new Crew();
    }
    std::mutex mutex_;
    std::vector<Worker*> idle_;
    size_t all_ = 0;
};

// Made when the library is loaded: a fork while another thread makes it would leave the child waiting for that one.
static const Crew& crew_at_load = Crew::own();

// Waits for the workers of a job and gives them back, also when the caller's own share throws: they use its stack.
class Lent {
  public:
    Lent(Job& job, const std::vector<Worker*>& workers) : job_(job), workers_(workers) {}
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    ~Lent() {
        job_.wait();
        Crew::own().give(workers_);
    }

  private:
    Job& job_;
    const std::vector<Worker*>& workers_;
};

// Runs work(0) here and work(1) and so on in threads of the crew, as many of `wanted` as are to be had: known(n) is told
// how many that are before this one begins. An exception of one of them is thrown here, when all are through.
template <class Known, class Work>
static void on_threads(long wanted, const Known& known, const Work& work) {
    if (wanted <= 1) {
        known(1);
        work(0);
        return;
    }
    const std::vector<Worker*> others = Crew::own().take(wanted - 1);
    const long n = static_cast<long>(others.size());
    Job job(work, n);
    const Elsewhere elsewhere(n);
    for (long i = 0; i < n; i++) others[i]->start(&job, i + 1, elsewhere);
    {
        const Lent lent(job, others);
        known(n + 1);
        work(0);
    }
    job.rethrow();
}

}  // namespace elmo
