#include "agent/loop.hpp"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/eagerness.hpp"
#include "core/unique_fd.hpp"

namespace sandbox::agent {
namespace {

constexpr int kEventsPerTurn = 64;
/// Slices run this long in a row before descriptors are looked at again.
constexpr core::Duration kSliceBudget = std::chrono::milliseconds(1);

struct Watch {
  std::uint32_t generation = 0;  ///< tells an event of this watch from one of an earlier owner of the number
  bool added = false;            ///< known to epoll now (not paused)
  std::function<void(std::uint32_t)> ready;
};

struct Slice {
  std::uint64_t id;
  std::function<void()> run;
};

struct Hook {
  std::uint64_t id;
  std::shared_ptr<std::function<void()>> run;  ///< shared: a hook may remove itself while it runs
};

std::uint64_t event_key(int fd, std::uint32_t generation) {
  return std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
}

}  // namespace

struct Loop::Impl {
  core::UniqueFd epoll;
  std::unordered_map<int, std::unique_ptr<Watch>> watches;
  std::vector<std::unique_ptr<Watch>> retired;  ///< unwatched during this turn: one may be running
  std::map<std::pair<core::TimePoint, TimerId>, std::function<void()>> timers;
  std::unordered_map<TimerId, core::TimePoint> timer_times;
  std::deque<Slice> slices;
  std::vector<Hook> hooks;
  core::TimePoint now = core::SteadyClock::now();
  std::uint64_t next_id = 1;
  std::uint32_t next_generation = 1;
  /// Paused at first: many agents are asked a thing or two and nothing more for a while.
  core::Eagerness eagerness{core::Eagerness::several(), core::Eagerness::kPause};
  bool expects = false;   ///< the next wait may look before it sleeps
  bool stopped = false;
  bool running_hooks = false;

  bool control(int operation, int fd, std::uint32_t events, std::uint32_t generation) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = event_key(fd, generation);
    return ::epoll_ctl(epoll.get(), operation, fd, &event) == 0;
  }

  void run_hooks() {
    // Newest first: a nested session's server was made after the one that carries its bytes, and must send first.
    // Hooks may add and remove hooks; removal only empties an entry while the run lasts.
    running_hooks = true;
    for (std::size_t i = hooks.size(); i-- > 0;)
      if (const auto hook = hooks[i].run) (*hook)();
    running_hooks = false;
    std::erase_if(hooks, [](const Hook& hook) { return !hook.run; });
  }

  void fire_timers() {
    while (!timers.empty() && timers.begin()->first.first <= now) {
      auto node = timers.extract(timers.begin());
      timer_times.erase(node.key().second);
      node.mapped()();
    }
  }

  void run_slices() {
    // Slices added by slices wait for the next turn, so that work which defers itself cannot starve descriptors.
    std::size_t left = slices.size();
    if (left == 0) return;
    const auto until = core::SteadyClock::now() + kSliceBudget;
    while (left-- > 0 && !slices.empty()) {
      Slice slice = std::move(slices.front());
      slices.pop_front();
      if (slice.run) slice.run();
      if (core::SteadyClock::now() >= until) break;
    }
  }

  int wait(core::Duration longest, epoll_event* events) {
    core::Duration wait = longest;
    if (!slices.empty()) wait = core::Duration::zero();
    else if (!timers.empty()) wait = std::min(wait, timers.begin()->first.first - core::SteadyClock::now());
    int milliseconds = -1;
    if (wait != core::Duration::max()) {
      // Rounded up: a timer never fires early, and a wait of less than a millisecond does not become a busy loop.
      const auto count = std::chrono::ceil<std::chrono::milliseconds>(std::max(wait, core::Duration::zero())).count();
      milliseconds = static_cast<int>(std::min<std::int64_t>(count, 60'000));
    }
    if (std::exchange(expects, false) && wait >= 2 * core::Eagerness::kLong) return wait_eagerly(milliseconds, events);
    return ::epoll_wait(epoll.get(), events, kEventsPerTurn, milliseconds);
  }

  int wait_eagerly(int milliseconds, epoll_event* events) {
    const auto begin = core::SteadyClock::now();
    const bool look = eagerness.worth(0, 1);
    int count = 0;
    if (look) {
      auto passed = core::Duration::zero();
      do {
        count = ::epoll_wait(epoll.get(), events, kEventsPerTurn, 0);
        passed = core::SteadyClock::now() - begin;
      } while (count == 0 && passed < eagerness.span());
      eagerness.learned(count > 0, passed);
    }
    if (count == 0) count = ::epoll_wait(epoll.get(), events, kEventsPerTurn, milliseconds);
    if (!look) eagerness.slept(core::SteadyClock::now() - begin);
    return count;
  }
};

Loop::Loop() : impl_(std::make_unique<Impl>()) { impl_->epoll.reset(::epoll_create1(EPOLL_CLOEXEC)); }
Loop::~Loop() = default;

Result<void> Loop::watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> ready) {
  auto watch = std::make_unique<Watch>();
  watch->generation = impl_->next_generation++;
  watch->added = true;
  watch->ready = std::move(ready);
  if (!impl_->control(EPOLL_CTL_ADD, fd, events, watch->generation)) return Error::from_errno(errno, "agent.watch");
  auto& slot = impl_->watches[fd];
  if (slot) impl_->retired.push_back(std::move(slot));
  slot = std::move(watch);
  return {};
}

void Loop::rewatch(int fd, std::uint32_t events) {
  const auto found = impl_->watches.find(fd);
  if (found == impl_->watches.end()) return;
  Watch& watch = *found->second;
  impl_->control(watch.added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events, watch.generation);
  watch.added = true;
}

void Loop::pause(int fd) {
  const auto found = impl_->watches.find(fd);
  if (found == impl_->watches.end() || !found->second->added) return;
  impl_->control(EPOLL_CTL_DEL, fd, 0, 0);
  found->second->added = false;
}

void Loop::unwatch(int fd) {
  const auto found = impl_->watches.find(fd);
  if (found == impl_->watches.end()) return;
  if (found->second->added) impl_->control(EPOLL_CTL_DEL, fd, 0, 0);
  impl_->retired.push_back(std::move(found->second));
  impl_->watches.erase(found);
}

Loop::TimerId Loop::at(core::TimePoint when, std::function<void()> fire) {
  const TimerId id = impl_->next_id++;
  impl_->timers.emplace(std::pair(when, id), std::move(fire));
  impl_->timer_times.emplace(id, when);
  return id;
}

void Loop::cancel_timer(TimerId id) {
  const auto found = impl_->timer_times.find(id);
  if (found == impl_->timer_times.end()) return;
  impl_->timers.erase({found->second, id});
  impl_->timer_times.erase(found);
}

std::uint64_t Loop::defer(std::function<void()> slice) {
  const std::uint64_t id = impl_->next_id++;
  impl_->slices.push_back({id, std::move(slice)});
  return id;
}

void Loop::cancel_slice(std::uint64_t id) {
  std::erase_if(impl_->slices, [id](const Slice& slice) { return slice.id == id; });
}

std::uint64_t Loop::before_sleep(std::function<void()> hook) {
  const std::uint64_t id = impl_->next_id++;
  impl_->hooks.push_back({id, std::make_shared<std::function<void()>>(std::move(hook))});
  return id;
}

void Loop::remove_hook(std::uint64_t id) {
  for (auto& hook : impl_->hooks)
    if (hook.id == id) hook.run = nullptr;
  if (!impl_->running_hooks) std::erase_if(impl_->hooks, [](const Hook& hook) { return !hook.run; });
}

void Loop::expect_soon() noexcept { impl_->expects = true; }

core::TimePoint Loop::now() const noexcept { return impl_->now; }

void Loop::run() {
  impl_->stopped = false;
  while (!impl_->stopped) turn(core::Duration::max());
}

void Loop::turn(core::Duration longest) {
  epoll_event events[kEventsPerTurn];
  impl_->run_hooks();
  if (impl_->stopped) return;
  const int count = impl_->wait(longest, events);
  impl_->now = core::SteadyClock::now();
  for (int i = 0; i < count; ++i) {
    const auto found = impl_->watches.find(static_cast<int>(events[i].data.u64 & 0xffffffff));
    if (found == impl_->watches.end()) continue;
    Watch& watch = *found->second;
    if (watch.generation != events[i].data.u64 >> 32 || !watch.added) continue;
    watch.ready(events[i].events);
  }
  impl_->fire_timers();
  if (!impl_->slices.empty()) {
    impl_->run_hooks();
    impl_->run_slices();
  }
  impl_->retired.clear();
}

void Loop::stop() noexcept { impl_->stopped = true; }

}  // namespace sandbox::agent
