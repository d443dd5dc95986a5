// The threads that compute: one job at a time, its units claimed one by one.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

namespace weir {

// Units are claimed, not dealt out: when another process takes one core, the other cores do more.
// A thread that finds no job spins for some microseconds (the next operation of a step comes at
// once), then sleeps: other services need the cores, too.
class Team {
 public:
  using Unit = void (*)(void* job, int unit);

  explicit Team(int n_threads) {
    for (int i = 1; i < n_threads; ++i) threads_.emplace_back([this] { work(); });
  }

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Each thread to a CPU of its own, among those that the caller may run on; the caller's to the first.
  // Returns false if the system refuses.
  bool pin() {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
    int cpu = -1;
    bool done = true;
    for (int i = 0; i < size(); ++i) {
      do cpu = (cpu + 1) % CPU_SETSIZE; while (!CPU_ISSET(cpu, &allowed));
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      const pthread_t thread = i == 0 ? pthread_self() : threads_[i - 1].native_handle();
      done = pthread_setaffinity_np(thread, sizeof one, &one) == 0 && done;
    }
    return done;
  }

  // Calls unit(job, 0) … unit(job, n - 1), each once, on any thread; returns when all have returned.
  template <class Job>
  void run(int n, Job& job) {
    if (n <= 1 || threads_.empty()) {
      for (int i = 0; i < n; ++i) job(i);
      return;
    }
    std::lock_guard<std::mutex> one_job_at_a_time(running_);
    unit_ = [](void* j, int i) { (*static_cast<Job*>(j))(i); };
    job_ = &job;
    count_ = n;
    left_.store(n, std::memory_order_relaxed);
    const std::uint64_t generation = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
    ticket_.store(generation << 32 | static_cast<std::uint32_t>(n), std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard<std::mutex> lock(sleeping_);
      wake_.notify_all();
    }
    claim_all();
    for (int spins = 0; left_.load(std::memory_order_acquire) > 0; ++spins) {
      if (spins < SPINS) _mm_pause(); else sched_yield();
    }
  }

 private:
  static constexpr int SPINS = 4000;

  // Takes units of the present job until none is left. The ticket holds the job's number and how
  // many units are unclaimed, so that a thread that comes late never takes a unit of a later job
  // for one of the job it has looked at.
  void claim_all() {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (static_cast<std::uint32_t>(ticket) > 0) {
      const Unit unit = unit_.load(std::memory_order_relaxed);
      void* const job = job_.load(std::memory_order_relaxed);
      const int n = count_.load(std::memory_order_relaxed);
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
      unit(job, n - static_cast<int>(static_cast<std::uint32_t>(ticket)));
      left_.fetch_sub(1, std::memory_order_release);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void work() {
    for (;;) {
      for (int spins = 0; spins < SPINS; ++spins) {
        if (static_cast<std::uint32_t>(ticket_.load(std::memory_order_acquire)) > 0) {
          claim_all();
          spins = 0;
        }
        _mm_pause();
      }
      std::unique_lock<std::mutex> lock(sleeping_);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [this] {
        return static_cast<std::uint32_t>(ticket_.load(std::memory_order_seq_cst)) > 0;
      });
      asleep_.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  std::vector<std::thread> threads_;  // never joined: the team lives as long as the process
  std::mutex running_, sleeping_;
  std::condition_variable wake_;
  std::atomic<Unit> unit_{nullptr};
  std::atomic<void*> job_{nullptr};
  std::atomic<int> count_{0};  // units of the job
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<int> left_{0};
  std::atomic<int> asleep_{0};
};

}  // namespace weir
