#include "signals.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace sbx {

namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
std::atomic<int> write_end{-1};

extern "C" void on_signal(int signal) {
  const int saved = errno;
  const auto byte = static_cast<unsigned char>(signal);
  // A full pipe loses the signal: 64 KiB of unhandled ones are already waiting.
  if (::write(write_end.load(), &byte, 1) < 0) errno = 0;
  errno = saved;
}

}  // namespace

sandbox::Result<std::unique_ptr<Signals>> Signals::start(Handler handler) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return sandbox::Error::from_errno(errno, "sbx.signals", "pipe");
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  write_end = ends[1];
  std::unique_ptr<Signals> self(new Signals);
  self->read_end_ = ends[0];
  self->handler_ = std::move(handler);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) {
    // What the caller had ignored (nohup, a shell's background job) stays ignored.
    struct sigaction before{};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN || signal == SIGWINCH) ::sigaction(signal, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);
  self->thread_ = std::thread([raw = self.get()] { raw->run(); });
  return self;
}

Signals::~Signals() {
  const unsigned char end = 0;
  while (::write(write_end.load(), &end, 1) < 0 && errno == EAGAIN) std::this_thread::yield();
  thread_.join();
  for (const int signal : kSignals) std::signal(signal, SIG_DFL);
  ::close(write_end.exchange(-1));
  ::close(read_end_);
}

void Signals::set_handler(Handler handler) {
  const std::scoped_lock lock(mutex_);
  handler_ = std::move(handler);
}

void Signals::run() {
  unsigned char signal = 0;
  while (true) {
    const auto got = ::read(read_end_, &signal, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || signal == 0) return;
    const std::scoped_lock lock(mutex_);
    if (handler_) handler_(signal);
  }
}

}  // namespace sbx
