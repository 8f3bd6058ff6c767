#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <sandbox/sandbox.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>

/// The completion-token forms (`async_x`) of the handles. Include this beside <sandbox/sandbox.hpp> to use them with
/// callbacks, boost::asio::use_future, use_awaitable or any other token; every one completes with void(Result<T>).
///
/// A completion runs on the token's associated executor, else on the runtime's own thread, where nothing may block:
/// blocking calls answer failed_precondition there. It never runs inside the initiating call. Cancellation (any type)
/// asks the operation to end; it still completes exactly once, as each function says.
///
/// GCC 12 and co_await: name aggregates first and move them in (`auto op = f(x); co_await std::move(op);`).
namespace sandbox::detail {

/// A completion handler of any type, called at most once. Move-only.
template <class T>
class Completion {
 public:
  class Target {
   public:
    virtual ~Target() = default;
    virtual void complete(Result<T> result) = 0;
    /// Whether complete() may be called inside the initiating call, too.
    virtual bool completes_anywhere() const noexcept { return false; }
  };
  Completion() noexcept = default;
  explicit Completion(std::unique_ptr<Target> target) noexcept : target_(std::move(target)) {}
  explicit operator bool() const noexcept { return target_ != nullptr; }
  bool completes_anywhere() const noexcept { return target_ && target_->completes_anywhere(); }
  void operator()(Result<T> result) {
    if (auto target = std::move(target_)) target->complete(std::move(result));
    else result.ignore("completed already");
  }

 private:
  std::unique_ptr<Target> target_;
};

/// Asks a started operation to end. Callable from any thread at any time, also after the operation is over.
using Canceller = std::function<void()>;

/// Joins a cancellation slot, which belongs to the caller's executor, with an operation that is just being started.
class CancelRelay {
 public:
  void request() {
    Canceller cancel;
    {
      std::lock_guard lock(mutex_);
      requested_ = true;
      cancel = cancel_;
    }
    if (cancel) cancel();
  }
  void connect(Canceller cancel) {
    {
      std::lock_guard lock(mutex_);
      cancel_ = cancel;
      if (!requested_) return;
    }
    if (cancel) cancel();
  }

 private:
  std::mutex mutex_;
  Canceller cancel_;
  bool requested_ = false;
};

template <class T, class Handler>
class HandlerTarget final : public Completion<T>::Target {
 public:
  HandlerTarget(Handler handler, const boost::asio::any_io_executor& fallback)
      : handler_(std::move(handler)),
        work_(boost::asio::prefer(boost::asio::any_io_executor(boost::asio::get_associated_executor(handler_, fallback)),
                                  boost::asio::execution::outstanding_work.tracked)) {}

  void complete(Result<T> result) override {
    boost::asio::dispatch(work_, [handler = std::move(handler_), outcome = std::move(result)]() mutable {
      if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected()) slot.clear();
      std::move(handler)(std::move(outcome));
    });
  }

 private:
  Handler handler_;
  boost::asio::any_io_executor work_;
};

/// Starts `start(Completion<T>) -> Canceller` for `token`.
template <class T, class Token, class Start>
auto initiate(boost::asio::any_io_executor fallback, Start start, Token&& token) {
  return boost::asio::async_initiate<Token, void(Result<T>)>(
      [](auto handler, boost::asio::any_io_executor executor, Start begin) {
        using Handler = std::decay_t<decltype(handler)>;
        std::shared_ptr<CancelRelay> relay;
        if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected()) {
          relay = std::make_shared<CancelRelay>();
          slot.assign([relay](boost::asio::cancellation_type) { relay->request(); });
        }
        auto cancel = begin(Completion<T>(std::make_unique<HandlerTarget<T, Handler>>(std::move(handler), executor)));
        if (relay) relay->connect(std::move(cancel));
      },
      token, std::move(fallback), std::move(start));
}

// Bodies in lib/api (and, for create, lib/runtime).
boost::asio::any_io_executor executor_of(driver::Box& box);
boost::asio::any_io_executor executor_of(RunningProcess::State& state);
boost::asio::any_io_executor executor_of(Watch::State& state);
boost::asio::any_io_executor executor_of(FileReader::State& state);
boost::asio::any_io_executor executor_of(FileWriter::State& state);
boost::asio::any_io_executor executor_of(RuntimeState& state);
using BoxPtr = std::shared_ptr<driver::Box>;
Canceller start_exec(const BoxPtr& box, Command cmd, Completion<ExecResult> completion);
Canceller start_spawn(const BoxPtr& box, Command cmd, Completion<RunningProcess> completion);
Canceller start_read(const std::shared_ptr<RunningProcess::State>& state, Completion<std::optional<OutputChunk>> completion);
Canceller start_wait(const std::shared_ptr<RunningProcess::State>& state, Completion<ExitStatus> completion);
Canceller start_write(const std::shared_ptr<RunningProcess::State>& state, Bytes bytes, Completion<void> completion);
/// `length`: nothing: to the end, and at most `max` bytes.
Canceller start_fs_read(const BoxPtr& box, std::string path, std::uint64_t offset, std::optional<std::uint64_t> length, ByteCount max,
                        Completion<Bytes> completion);
Canceller start_fs_write(const BoxPtr& box, std::string path, Bytes content, WriteOptions options, Completion<void> completion);
Canceller start_fs_list(const BoxPtr& box, std::string path, Completion<std::vector<FileInfo>> completion);
Canceller start_fs_find(const BoxPtr& box, std::string root, std::string pattern, FindOptions options,
                        Completion<std::vector<FileInfo>> completion);
Canceller start_fs_stat(const BoxPtr& box, std::string path, bool follow, Completion<FileInfo> completion);
Canceller start_fs_mkdir(const BoxPtr& box, std::string path, Completion<void> completion);
Canceller start_fs_remove(const BoxPtr& box, std::string path, bool recursive, Completion<void> completion);
Canceller start_fs_rename(const BoxPtr& box, std::string from, std::string to, Completion<void> completion);
Canceller start_fs_copy(const BoxPtr& box, std::string from, std::string to, Completion<std::uint64_t> completion);
Canceller start_fs_symlink(const BoxPtr& box, std::string target, std::string path, Completion<void> completion);
Canceller start_fs_chmod(const BoxPtr& box, std::string path, std::uint32_t mode, Completion<void> completion);
Canceller start_fs_watch(const BoxPtr& box, std::string path, bool recursive, Completion<Watch> completion);
Canceller start_watch_next(const std::shared_ptr<Watch::State>& state, Completion<FileEvent> completion);
Canceller start_reader_read(const std::shared_ptr<FileReader::State>& state, Completion<Bytes> completion);
Canceller start_writer_write(const std::shared_ptr<FileWriter::State>& state, Bytes bytes, Completion<void> completion);
Canceller start_writer_finish(const std::shared_ptr<FileWriter::State>& state, Completion<TransferSummary> completion);
Canceller start_env_get(const BoxPtr& box, std::string name, Completion<std::optional<std::string>> completion);
Canceller start_env_set(const BoxPtr& box, std::string name, std::string value, Completion<void> completion);
Canceller start_env_unset(const BoxPtr& box, std::string name, Completion<void> completion);
Canceller start_env_list(const BoxPtr& box, Completion<std::vector<std::pair<std::string, std::string>>> completion);
Canceller start_expose(const BoxPtr& box, std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout,
                       Completion<ExposedPort> completion);
Canceller start_close(const BoxPtr& box, Completion<void> completion);
Canceller start_create(const std::shared_ptr<RuntimeState>& state, SandboxSpec spec, CreateOptions options, Completion<Sandbox> completion);

/// Starts `start(owner, args…, Completion<T>)` for `token`, with the owner's thread as fallback executor.
template <class T, class Start, class Owner, class Token, class... Args>
auto begin(Start start, const std::shared_ptr<Owner>& owner, Token&& token, Args... args) {
  return initiate<T>(
      executor_of(*owner),
      [start, owner, kept = std::make_tuple(std::move(args)...)](Completion<T> completion) mutable {
        return std::apply([&](auto&... arg) { return start(owner, std::move(arg)..., std::move(completion)); }, kept);
      },
      std::forward<Token>(token));
}

}  // namespace sandbox::detail

namespace sandbox {

template <class Token>
auto Process::async_exec(Command cmd, Token&& token) {
  return detail::begin<ExecResult>(&detail::start_exec, box_, std::forward<Token>(token), std::move(cmd));
}

template <class Token>
auto Process::async_spawn(Command cmd, Token&& token) {
  return detail::begin<RunningProcess>(&detail::start_spawn, box_, std::forward<Token>(token), std::move(cmd));
}

template <class Token>
auto RunningProcess::async_read(Token&& token) {
  return detail::begin<std::optional<OutputChunk>>(&detail::start_read, state_, std::forward<Token>(token));
}

template <class Token>
auto RunningProcess::async_wait(Token&& token) {
  return detail::begin<ExitStatus>(&detail::start_wait, state_, std::forward<Token>(token));
}

template <class Token>
auto RunningProcess::async_write(Bytes bytes, Token&& token) {
  return detail::begin<void>(&detail::start_write, state_, std::forward<Token>(token), std::move(bytes));
}

template <class Token>
auto Fs::async_read(std::string path, ByteCount max, Token&& token) {
  return detail::begin<Bytes>(&detail::start_fs_read, box_, std::forward<Token>(token), std::move(path), std::uint64_t{0},
                              std::optional<std::uint64_t>(), max);
}

template <class Token>
auto Fs::async_read(std::string path, Token&& token) {
  return async_read(std::move(path), ByteCount::gib(1), std::forward<Token>(token));
}

template <class Token>
auto Fs::async_read_range(std::string path, std::uint64_t offset, std::uint64_t length, Token&& token) {
  return detail::begin<Bytes>(&detail::start_fs_read, box_, std::forward<Token>(token), std::move(path), offset,
                              std::optional<std::uint64_t>(length), ByteCount(length));
}

template <class Token>
auto Fs::async_write(std::string path, Bytes content, WriteOptions options, Token&& token) {
  return detail::begin<void>(&detail::start_fs_write, box_, std::forward<Token>(token), std::move(path), std::move(content), options);
}

template <class Token>
auto Fs::async_write(std::string path, Bytes content, Token&& token) {
  return async_write(std::move(path), std::move(content), WriteOptions(), std::forward<Token>(token));
}

template <class Token>
auto Fs::async_list(std::string path, Token&& token) {
  return detail::begin<std::vector<FileInfo>>(&detail::start_fs_list, box_, std::forward<Token>(token), std::move(path));
}

template <class Token>
auto Fs::async_stat(std::string path, Token&& token) {
  return detail::begin<FileInfo>(&detail::start_fs_stat, box_, std::forward<Token>(token), std::move(path), true);
}

template <class Token>
auto Fs::async_lstat(std::string path, Token&& token) {
  return detail::begin<FileInfo>(&detail::start_fs_stat, box_, std::forward<Token>(token), std::move(path), false);
}

template <class Token>
auto Fs::async_mkdir(std::string path, Token&& token) {
  return detail::begin<void>(&detail::start_fs_mkdir, box_, std::forward<Token>(token), std::move(path));
}

template <class Token>
auto Fs::async_remove(std::string path, Token&& token) {
  return detail::begin<void>(&detail::start_fs_remove, box_, std::forward<Token>(token), std::move(path), false);
}

template <class Token>
auto Fs::async_remove_all(std::string path, Token&& token) {
  return detail::begin<void>(&detail::start_fs_remove, box_, std::forward<Token>(token), std::move(path), true);
}

template <class Token>
auto Fs::async_rename(std::string from, std::string to, Token&& token) {
  return detail::begin<void>(&detail::start_fs_rename, box_, std::forward<Token>(token), std::move(from), std::move(to));
}

template <class Token>
auto Fs::async_copy(std::string from, std::string to, Token&& token) {
  return detail::begin<std::uint64_t>(&detail::start_fs_copy, box_, std::forward<Token>(token), std::move(from), std::move(to));
}

template <class Token>
auto Fs::async_symlink(std::string target, std::string path, Token&& token) {
  return detail::begin<void>(&detail::start_fs_symlink, box_, std::forward<Token>(token), std::move(target), std::move(path));
}

template <class Token>
auto Fs::async_chmod(std::string path, std::uint32_t mode, Token&& token) {
  return detail::begin<void>(&detail::start_fs_chmod, box_, std::forward<Token>(token), std::move(path), mode);
}

template <class Token>
auto Fs::async_find(std::string root, std::string pattern, FindOptions options, Token&& token) {
  return detail::begin<std::vector<FileInfo>>(&detail::start_fs_find, box_,
                       std::forward<Token>(token), std::move(root), std::move(pattern), options);
}

template <class Token>
auto Fs::async_watch(std::string path, bool recursive, Token&& token) {
  return detail::begin<Watch>(&detail::start_fs_watch, box_, std::forward<Token>(token), std::move(path), recursive);
}

template <class Token>
auto Watch::async_next(Token&& token) {
  return detail::begin<FileEvent>(&detail::start_watch_next, state_, std::forward<Token>(token));
}

template <class Token>
auto FileReader::async_read(Token&& token) {
  return detail::begin<Bytes>(&detail::start_reader_read, state_, std::forward<Token>(token));
}

template <class Token>
auto FileWriter::async_write(Bytes bytes, Token&& token) {
  return detail::begin<void>(&detail::start_writer_write, state_, std::forward<Token>(token), std::move(bytes));
}

template <class Token>
auto FileWriter::async_finish(Token&& token) {
  return detail::begin<TransferSummary>(&detail::start_writer_finish, state_, std::forward<Token>(token));
}

template <class Token>
auto Env::async_get(std::string name, Token&& token) {
  return detail::begin<std::optional<std::string>>(&detail::start_env_get, box_, std::forward<Token>(token), std::move(name));
}

template <class Token>
auto Env::async_set(std::string name, std::string value, Token&& token) {
  return detail::begin<void>(&detail::start_env_set, box_, std::forward<Token>(token), std::move(name), std::move(value));
}

template <class Token>
auto Env::async_unset(std::string name, Token&& token) {
  return detail::begin<void>(&detail::start_env_unset, box_, std::forward<Token>(token), std::move(name));
}

template <class Token>
auto Env::async_list(Token&& token) {
  return detail::begin<std::vector<std::pair<std::string, std::string>>>(&detail::start_env_list, box_, std::forward<Token>(token));
}

template <class Token>
auto Net::async_expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout, Token&& token) {
  return detail::begin<ExposedPort>(&detail::start_expose, box_, std::forward<Token>(token), port, host_port, timeout);
}

template <class Token>
auto Sandbox::async_close(Token&& token) {
  return detail::begin<void>(&detail::start_close, box_, std::forward<Token>(token));
}

template <class Token>
auto Runtime::async_create(SandboxSpec spec, CreateOptions options, Token&& token) {
  return detail::begin<Sandbox>(&detail::start_create, state_, std::forward<Token>(token), std::move(spec), options);
}

template <class Token>
auto Runtime::async_create(SandboxSpec spec, Token&& token) {
  return async_create(std::move(spec), CreateOptions(), std::forward<Token>(token));
}

}  // namespace sandbox
