#include "program.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <poll.h>
#include <string_view>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sbx {

using sandbox::Result;

void Control::on_signal(int signal) {
  const std::scoped_lock lock(mutex_);
  if (signal == SIGWINCH) {
    if (terminal_ && process_ != nullptr) process_->resize(terminal_size(STDIN_FILENO)).ignore("the program may have ended");
    return;
  }
  signal_ = signal;
  ++count_;
  interrupted_ = true;
  if (process_ != nullptr && count_ <= 2) {
    // First what the user typed, as if the program ran here; then, or when the terminal is gone, no more asking.
    if (count_ == 1 && signal != SIGHUP) process_->signal(signal).ignore("the program may have ended");
    else process_->kill().ignore("the program may have ended");
  } else if (count_ >= 2) {
    // Whatever hangs: who serves us notices that we are gone and ends what was ours.
    if (raw_ != nullptr) raw_->restore();
    ::_exit(128 + signal);
  }
}

void Control::set_process(sandbox::RunningProcess* process) {
  const std::scoped_lock lock(mutex_);
  process_ = process;
}

void Control::set_raw(RawMode* raw) {
  const std::scoped_lock lock(mutex_);
  raw_ = raw;
}

namespace {

/// Our standard input to the program's, on a thread of its own until end of file, the program's end, or stop().
class StdinPump {
 public:
  explicit StdinPump(sandbox::RunningProcess& process) : process_(process), wake_(::eventfd(0, EFD_CLOEXEC)) {
    thread_ = std::thread([this] { run(); });
  }
  /// Joins; a write that blocks ends with the program.
  ~StdinPump() {
    const std::uint64_t one = 1;
    if (::write(wake_, &one, sizeof one) < 0) ::perror("sbx: eventfd");
    thread_.join();
    ::close(wake_);
  }
  StdinPump(const StdinPump&) = delete;

 private:
  void run() {
    std::vector<char> buffer(64 * 1024);
    while (true) {
      pollfd polled[2] = {{STDIN_FILENO, POLLIN, 0}, {wake_, POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      if (polled[1].revents != 0) return;
      const auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) {
        process_.close_stdin().ignore("the program may have ended");
        return;
      }
      const auto written = process_.write(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
      if (!written) {
        // It ended or closed its input, as `yes | true` does: not our failure.
        written.error().ignore("nobody reads standard input any more");
        return;
      }
    }
  }

  sandbox::RunningProcess& process_;
  int wake_;
  std::thread thread_;
};

/// False when the reader of `fd` is gone.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto put = ::write(fd, text.data(), text.size());
    if (put > 0) {
      text.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd polled{fd, POLLOUT, 0};
      ::poll(&polled, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

/// Reads until both streams end, then waits.
Result<sandbox::ExitStatus> pass_on(sandbox::RunningProcess& process, const FollowOptions& options, Followed& seen) {
  while (true) {
    SANDBOX_TRY(const auto chunk, process.read());
    if (!chunk) break;
    const bool out = chunk->stream == sandbox::OutputChunk::Stream::out;
    if (options.collect) {
      (out ? seen.out : seen.err).append(chunk->text());
    } else if (!seen.broken_pipe && !write_all(out ? STDOUT_FILENO : STDERR_FILENO, chunk->text())) {
      // Like a program in a pipeline whose reader left.
      seen.broken_pipe = true;
      SANDBOX_CHECK(process.kill());
    }
  }
  return process.wait();
}

}  // namespace

Followed follow(sandbox::RunningProcess& process, Control& control, const FollowOptions& options) {
  Followed seen{.status = sandbox::ExitStatus()};
  std::optional<RawMode> raw;
  if (options.terminal) {
    auto mode = RawMode::enter(STDIN_FILENO);
    if (!mode) {
      seen.status = std::move(mode).error();
      return seen;
    }
    raw.emplace(*std::move(mode));
    control.set_raw(&*raw);
    // The window may have changed since the command was made.
    process.resize(terminal_size(STDIN_FILENO)).ignore("the program may have ended");
  }
  control.set_process(&process);
  std::optional<StdinPump> input;
  if (options.forward_stdin) input.emplace(process);
  seen.status = pass_on(process, options, seen);
  control.set_process(nullptr);
  control.set_raw(nullptr);
  // Before the pump is joined: should that hang, the terminal is in order and Ctrl-C works.
  raw.reset();
  if (!seen.status) process.kill().ignore("it may be gone");
  return seen;
}

bool has_piped_stdin() {
  struct stat input{};
  return ::fstat(STDIN_FILENO, &input) == 0 && (S_ISFIFO(input.st_mode) || S_ISREG(input.st_mode) || S_ISSOCK(input.st_mode));
}

}  // namespace sbx
