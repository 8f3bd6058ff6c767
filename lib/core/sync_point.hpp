#pragma once

/// Named places in the code where a test may step in: SANDBOX_SYNC_POINT("pool.before_handout"). ADR 0014.
///
/// In every build a point is one no-operation instruction, and its name and address stand in an ELF note that is not loaded:
/// the program cannot tell that somebody knows. Tests are debuggers (tests/support/tracer.hpp): they read the notes of the
/// very programs that ship, put a breakpoint where the instruction was, and kill or fail something when it is reached.
/// The notes have the form of SystemTap's static probes, so gdb ("info probes"), perf and bpftrace find the points as well,
/// under the provider "sandbox".
///
/// Builds without NDEBUG can in addition run a script inside the process (SyncScript): one atomic load while none is
/// installed. Host code only.
/// `name` is a literal of [a-z0-9_.] characters, unique in the project.
#if defined(__x86_64__) || defined(__aarch64__)

/// Three times eight bytes as in SystemTap's <sys/sdt.h>: the instruction, where .stapsdt.base was linked, no semaphore.
#define SANDBOX_SYNC_MARK(name)                                                      \
  asm volatile(                                                                      \
      "990: nop\n"                                                                   \
      ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                  \
      ".balign 4\n"                                                                  \
      ".4byte 992f-991f, 994f-993f, 3\n"                                             \
      "991: .asciz \"stapsdt\"\n"                                                    \
      "992: .balign 4\n"                                                             \
      "993: .8byte 990b, _.stapsdt.base, 0\n"                                        \
      ".asciz \"sandbox\"\n"                                                         \
      ".asciz \"" name "\"\n"                                                        \
      ".asciz \"\"\n"                                                                \
      "994: .balign 4\n"                                                             \
      ".popsection\n"                                                                \
      ".ifndef _.stapsdt.base\n"                                                     \
      ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"        \
      ".weak _.stapsdt.base\n"                                                       \
      ".hidden _.stapsdt.base\n"                                                     \
      "_.stapsdt.base: .space 1\n"                                                   \
      ".size _.stapsdt.base, 1\n"                                                    \
      ".popsection\n"                                                                \
      ".endif\n" ::                                                                  \
          : "memory")

#else

#define SANDBOX_SYNC_MARK(name) static_cast<void>(0)

#endif

#if defined(NDEBUG) || defined(SANDBOX_GUEST)

#define SANDBOX_SYNC_POINT(name) SANDBOX_SYNC_MARK(name)

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

#define SANDBOX_SYNC_POINT(name)                  \
  do {                                            \
    SANDBOX_SYNC_MARK(name);                      \
    ::sandbox::core::SyncScript::reached(name);   \
  } while (false)

#endif
