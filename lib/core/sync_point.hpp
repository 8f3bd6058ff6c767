#pragma once

/// Named places in concurrent code where a test may step in: SANDBOX_SYNC_POINT("pool.before_handout"). Nothing at all
/// in builds with NDEBUG; otherwise one atomic load while no script is installed. Host code only.
#if defined(NDEBUG)

#define SANDBOX_SYNC_POINT(name) static_cast<void>(0)

#else

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace sandbox::core {

/// What a test wants to happen at sync points while this object lives; one at a time per process.
/// The action runs on the thread that reached the point and may block it.
class SyncScript {
 public:
  SyncScript() { current().store(this); }
  ~SyncScript() {
    current().store(nullptr);
    std::lock_guard wait_for_readers(gate());
  }
  SyncScript(const SyncScript&) = delete;

  void on(std::string name, std::function<void()> action) {
    std::lock_guard lock(gate());
    actions_[std::move(name)] = std::move(action);
  }

  static void reached(std::string_view name) {
    if (current().load(std::memory_order_relaxed) == nullptr) return;
    std::function<void()> action;
    {
      std::lock_guard lock(gate());
      SyncScript* script = current().load();
      if (script == nullptr) return;
      const auto found = script->actions_.find(name);
      if (found == script->actions_.end()) return;
      action = found->second;
    }
    action();
  }

 private:
  static std::atomic<SyncScript*>& current() {
    static std::atomic<SyncScript*> script{nullptr};
    return script;
  }
  static std::mutex& gate() {
    static std::mutex mutex;
    return mutex;
  }
  std::map<std::string, std::function<void()>, std::less<>> actions_;
};

}  // namespace sandbox::core

#define SANDBOX_SYNC_POINT(name) ::sandbox::core::SyncScript::reached(name)

#endif
