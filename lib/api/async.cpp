#include "api/async.hpp"

#include <thread>

#include "api/environment.hpp"
#include "api/exec.hpp"
#include "api/files.hpp"
#include "api/running.hpp"
#include "api/streaming.hpp"
#include "api/watching.hpp"

namespace sandbox::detail {
namespace {

/// What blocks gets a thread of its own, joined by the reactor or by whoever drops this.
struct Apart {
  ~Apart() {
    if (thread.joinable()) thread.join();
  }
  std::mutex mutex;  ///< held until `thread` is assigned
  std::thread thread;
};

/// `work() -> Result<R>` on a thread of its own.
template <class R, class Work>
void run_apart(const BoxPtr& box, Completion<R> completion, Work work) {
  auto apart = std::make_shared<Apart>();
  std::lock_guard lock(apart->mutex);
  apart->thread = std::thread([box, apart, work = std::move(work), done = std::move(completion)]() mutable {
    Result<R> result = work();
    // The box goes along: with the last hold on it the reactor ends, which joins this thread and so cannot be ended by it.
    auto& reactor = box->reactor();
    reactor.post([box = std::move(box), apart = std::move(apart), done = std::move(done), result = std::move(result)]() mutable {
      {
        std::lock_guard assigned(apart->mutex);
        apart->thread.join();
      }
      done(std::move(result));
    });
  });
}

}  // namespace

boost::asio::any_io_executor executor_of(driver::Box& box) { return box.reactor().context().get_executor(); }
boost::asio::any_io_executor executor_of(RunningProcess::State& state) { return executor_of(state.box()); }
boost::asio::any_io_executor executor_of(Watch::State& state) { return executor_of(state.box()); }
boost::asio::any_io_executor executor_of(FileReader::State& state) { return executor_of(state.box()); }
boost::asio::any_io_executor executor_of(FileWriter::State& state) { return executor_of(state.box()); }

Canceller start_exec(const BoxPtr& box, Command cmd, Completion<ExecResult> completion) {
  return api::launch<ExecResult>(box, api::Exec::make_exec(cmd), std::move(completion));
}

Canceller start_spawn(const BoxPtr& box, Command cmd, Completion<RunningProcess> completion) {
  if (auto usable = box->usable(); !usable) {
    api::complete_later<RunningProcess>(*box, std::move(completion), std::move(usable).error());
    return {};
  }
  auto started = RunningProcess::State::start(box, cmd);
  if (!started) {
    api::complete_later<RunningProcess>(*box, std::move(completion), std::move(started).error());
    return {};
  }
  // Kills the program again unless it reaches the caller.
  auto process = std::make_shared<RunningProcess>(*started);
  auto* const state = started->get();
  return state->await_later<RunningProcess>(
      [state, process]() -> std::optional<Result<RunningProcess>> {
        auto running = state->poll_started();
        if (!running) return std::nullopt;
        if (!*running) return Result<RunningProcess>(std::move(*running).error());
        return Result<RunningProcess>(std::move(*process));
      },
      std::move(completion));
}

Canceller start_read(const std::shared_ptr<RunningProcess::State>& state, Completion<std::optional<OutputChunk>> completion) {
  return state->await_later<std::optional<OutputChunk>>([s = state.get()] { return s->poll_output(); }, std::move(completion));
}

/// Whoever gives up waiting may read again. The state lives until this was called.
class WaitEnd final : public Completion<ExitStatus>::Target {
 public:
  WaitEnd(RunningProcess::State& state, Completion<ExitStatus> completion) : state_(state), completion_(std::move(completion)) {}
  void complete(Result<ExitStatus> status) override {
    state_.link().with([&](session::Session&) { --state_.waiting; });
    completion_(std::move(status));
  }

 private:
  RunningProcess::State& state_;
  Completion<ExitStatus> completion_;
};

Canceller start_wait(const std::shared_ptr<RunningProcess::State>& state, Completion<ExitStatus> completion) {
  state->link().with([&](session::Session&) {
    ++state->waiting;
    state->drop_output();
  });
  return state->await_later<ExitStatus>([s = state.get()] { return s->poll_status(); },
                                        Completion<ExitStatus>(std::make_unique<WaitEnd>(*state, std::move(completion))));
}

Canceller start_write(const std::shared_ptr<RunningProcess::State>& state, Bytes bytes, Completion<void> completion) {
  return state->await_later<void>(
      [s = state.get(), content = std::move(bytes), sent = std::size_t{0}]() mutable { return s->poll_write(content, sent); },
      std::move(completion));
}

Canceller start_fs_read(const BoxPtr& box, std::string path, std::uint64_t offset, std::optional<std::uint64_t> length, ByteCount max,
                        Completion<Bytes> completion) {
  return api::launch<Bytes>(box, api::ReadFile::make_read(path, offset, length, max.bytes()), std::move(completion));
}

Canceller start_fs_write(const BoxPtr& box, std::string path, Bytes content, WriteOptions options, Completion<void> completion) {
  return api::launch<void>(box, api::WriteFile::make_write_owned(path, std::move(content), options), std::move(completion));
}

Canceller start_fs_list(const BoxPtr& box, std::string path, Completion<std::vector<FileInfo>> completion) {
  return api::launch<std::vector<FileInfo>>(box, api::ListEntries::make_list(path), std::move(completion));
}

Canceller start_fs_find(const BoxPtr& box, std::string root, std::string pattern, FindOptions options,
                        Completion<std::vector<FileInfo>> completion) {
  return api::launch<std::vector<FileInfo>>(box, api::ListEntries::make_find(root, pattern, options), std::move(completion));
}

Canceller start_fs_stat(const BoxPtr& box, std::string path, bool follow, Completion<FileInfo> completion) {
  return api::launch<FileInfo>(box, api::make_stat(path, follow), std::move(completion));
}

Canceller start_fs_mkdir(const BoxPtr& box, std::string path, Completion<void> completion) {
  return api::launch<void>(box, api::make_mkdir(path), std::move(completion));
}

Canceller start_fs_remove(const BoxPtr& box, std::string path, bool recursive, Completion<void> completion) {
  return api::launch<void>(box, api::make_remove(path, recursive), std::move(completion));
}

Canceller start_fs_rename(const BoxPtr& box, std::string from, std::string to, Completion<void> completion) {
  return api::launch<void>(box, api::make_rename(from, to), std::move(completion));
}

Canceller start_fs_copy(const BoxPtr& box, std::string from, std::string to, Completion<std::uint64_t> completion) {
  return api::launch<std::uint64_t>(box, api::make_copy(from, to), std::move(completion));
}

Canceller start_fs_symlink(const BoxPtr& box, std::string target, std::string path, Completion<void> completion) {
  return api::launch<void>(box, api::make_symlink(target, path), std::move(completion));
}

Canceller start_fs_chmod(const BoxPtr& box, std::string path, std::uint32_t mode, Completion<void> completion) {
  return api::launch<void>(box, api::make_chmod(path, mode), std::move(completion));
}

Canceller start_fs_watch(const BoxPtr& box, std::string path, bool recursive, Completion<Watch> completion) {
  auto started = Watch::State::start(box, std::move(path), recursive);
  if (!started) {
    api::complete_later<Watch>(*box, std::move(completion), std::move(started).error());
    return {};
  }
  auto* const state = started->get();
  auto watch = std::make_shared<Watch>(*std::move(started));  // ends the watch again unless it reaches the caller
  return state->await_later<Watch>(
      [state, watch]() -> std::optional<Result<Watch>> {
        auto ready = state->poll_ready();
        if (!ready) return std::nullopt;
        if (!*ready) return Result<Watch>(std::move(*ready).error());
        return Result<Watch>(std::move(*watch));
      },
      std::move(completion));
}

Canceller start_reader_read(const std::shared_ptr<FileReader::State>& state, Completion<Bytes> completion) {
  return state->await_later<Bytes>([s = state.get()] { return s->poll_bytes(); }, std::move(completion));
}

Canceller start_writer_write(const std::shared_ptr<FileWriter::State>& state, Bytes bytes, Completion<void> completion) {
  return state->await_later<void>(
      [s = state.get(), content = std::move(bytes), sent = std::size_t{0}]() mutable { return s->poll_write(content, sent); },
      std::move(completion));
}

Canceller start_writer_finish(const std::shared_ptr<FileWriter::State>& state, Completion<TransferSummary> completion) {
  return state->await_later<TransferSummary>([s = state.get()] { return s->poll_finish(); }, std::move(completion));
}

Canceller start_watch_next(const std::shared_ptr<Watch::State>& state, Completion<FileEvent> completion) {
  return state->await_later<FileEvent>([s = state.get()] { return s->poll_event(); }, std::move(completion));
}

Canceller start_env_get(const BoxPtr& box, std::string name, Completion<std::optional<std::string>> completion) {
  return api::launch<std::optional<std::string>>(box, api::make_env_get(name), std::move(completion));
}

Canceller start_env_set(const BoxPtr& box, std::string name, std::string value, Completion<void> completion) {
  return api::launch<void>(box, api::make_env_set(name, value), std::move(completion));
}

Canceller start_env_unset(const BoxPtr& box, std::string name, Completion<void> completion) {
  return api::launch<void>(box, api::make_env_unset(name), std::move(completion));
}

Canceller start_env_list(const BoxPtr& box, Completion<std::vector<std::pair<std::string, std::string>>> completion) {
  return api::launch<std::vector<std::pair<std::string, std::string>>>(box, api::make_env_list(), std::move(completion));
}

Canceller start_expose(const BoxPtr& box, std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout,
                       Completion<ExposedPort> completion) {
  std::stop_source stop;
  run_apart<ExposedPort>(box, std::move(completion), [net = Net(box), port, host_port, timeout, token = stop.get_token()]() mutable {
    return net.expose(port, host_port, timeout, token);
  });
  return [stop]() mutable { stop.request_stop(); };
}

Canceller start_close(const BoxPtr& box, Completion<void> completion) {
  run_apart<void>(box, std::move(completion), [box] { return box->close(); });
  return {};  // a close cannot be called back
}

}  // namespace sandbox::detail
