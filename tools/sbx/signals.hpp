#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include <sandbox/result.hpp>

namespace sbx {

/// SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGWINCH as calls on a thread of its own. One instance per process. Handlers are
/// installed, not masks: a mask would be inherited by the helpers the runtime starts. SIGPIPE is ignored.
class Signals {
 public:
  using Handler = std::function<void(int signal)>;

  static sandbox::Result<std::unique_ptr<Signals>> start(Handler handler);
  ~Signals();
  /// Replaces the handler; the old one is not running any more when this returns. Not from a handler.
  void set_handler(Handler handler);

 private:
  Signals() = default;
  void run();

  std::mutex mutex_;
  Handler handler_;
  int read_end_ = -1;
  std::thread thread_;
};

}  // namespace sbx
