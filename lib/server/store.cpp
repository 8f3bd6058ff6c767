#include "server/store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "aio/alarm.hpp"
#include "core/sync_point.hpp"
#include "core/unique_fd.hpp"
#include "server/store_records.hpp"

namespace sandbox::server {
namespace {

using namespace std::chrono_literals;

constexpr auto kGather = 5ms;  ///< what comes this soon after a first write shares its transaction
constexpr auto kAgain = 1s;    ///< after a write that failed

/// Only one daemon per database. The lock ends with the process, however that ends; the file stays.
Result<core::UniqueFd> lock_file(const std::string& path) {
  core::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::from_errno(errno, "store.open", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Error(ErrorCode::already_exists, "another sandboxd uses " + path.substr(0, path.rfind('.')));
    return Error::from_errno(errno, "store.open", path);
  }
  return fd;
}

/// SQLite would take an empty or missing file for a new database, and overwrite nothing else; but it tells late.
Result<void> make_or_recognise(const std::string& path) {
  core::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::from_errno(errno, "store.open", path);
  constexpr char kMagic[] = "SQLite format 3";
  char head[sizeof kMagic];
  const ssize_t count = ::pread(fd.get(), head, sizeof head, 0);
  if (count < 0) return Error::from_errno(errno, "store.open", path);
  if (count == 0) return {};
  if (count < static_cast<ssize_t>(sizeof head) || std::memcmp(head, kMagic, sizeof head) != 0) {
    return Error(ErrorCode::corrupt, path + " is not a database");
  }
  return {};
}

}  // namespace

struct Store::Impl {
  Impl(Tables tables_, core::UniqueFd lock_, aio::Alarm alarm_, Options options_)
      : lock(std::move(lock_)), options(std::move(options_)), alarm(std::move(alarm_)), tables(std::move(tables_)) {}

  void start() {
    writer = std::thread([this] { run(); });
  }

  template <class Change>
  void change(Change&& apply) {
    const std::lock_guard guard(mutex);
    const bool first = pending.empty();
    apply(pending);
    ++wanted;
    if (first) write_at(core::SteadyClock::now() + kGather);
  }

  /// Under the mutex.
  void write_at(core::TimePoint when) {
    due = when;
    alarm.set(when);
  }

  void run() {
    std::unique_lock guard(mutex);
    for (;;) {
      while (!stopping && core::SteadyClock::now() < due) {
        guard.unlock();
        alarm.sleep();
        guard.lock();
      }
      due = core::TimePoint::max();
      if (pending.empty()) {
        if (stopping) return;
        continue;
      }
      const std::uint64_t flushes_seen = flushes;
      PendingWrites batch = std::exchange(pending, {});
      const std::uint64_t upto = wanted;
      guard.unlock();
      SANDBOX_SYNC_POINT("store.before_write");
      auto written = [&] {
        const std::lock_guard database(database_mutex);
        return tables.write(batch);
      }();
      SANDBOX_SYNC_POINT("store.written");
      if (!written && options.on_error) options.on_error(written.error());
      guard.lock();
      if (written) {
        done = upto;
        settled.notify_all();
        continue;
      }
      pending.merge_older(std::move(batch));
      failure = std::move(written).error();
      failure->ignore("told to on_error; kept for flush");
      ++failures;
      settled.notify_all();
      if (stopping) return;
      // A flush that came meanwhile tries at once.
      write_at(flushes == flushes_seen ? core::SteadyClock::now() + kAgain : core::SteadyClock::now());
    }
  }

  core::UniqueFd lock;
  const Options options;
  const aio::Alarm alarm;
  std::mutex database_mutex;  ///< never taken while `mutex` is held
  Tables tables;

  std::mutex mutex;
  std::condition_variable settled;
  core::TimePoint due = core::TimePoint::max();  ///< of the next batch
  PendingWrites pending;
  std::uint64_t wanted = 0;    ///< changes asked for
  std::uint64_t done = 0;      ///< changes committed
  std::uint64_t failures = 0;  ///< attempts that failed
  std::uint64_t flushes = 0;
  std::optional<Error> failure;
  bool stopping = false;
  std::thread writer;
};

Result<std::unique_ptr<Store>> Store::open(const std::string& path, Options options) {
  SANDBOX_TRY(core::UniqueFd lock, lock_file(path + ".lock"));
  SANDBOX_CHECK(make_or_recognise(path));
  SANDBOX_TRY(auto database, sqlite::Database::open(path));
  database.set_busy_timeout(options.busy_timeout);
  auto tables = Tables::prepare(std::move(database));
  if (!tables) return std::move(tables).error().with_context(path);
  SANDBOX_TRY(auto alarm, aio::Alarm::make());
  auto impl = std::make_unique<Impl>(*std::move(tables), std::move(lock), std::move(alarm), std::move(options));
  impl->start();
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() {
  {
    const std::lock_guard guard(impl_->mutex);
    impl_->stopping = true;
    impl_->alarm.set(core::SteadyClock::now());
  }
  impl_->writer.join();
}

Result<std::vector<StoredSandbox>> Store::sandboxes() {
  const std::lock_guard guard(impl_->database_mutex);
  return impl_->tables.sandboxes(impl_->options.on_error);
}

Result<std::vector<StoredTemplate>> Store::templates() {
  const std::lock_guard guard(impl_->database_mutex);
  return impl_->tables.templates();
}

Result<std::optional<std::string>> Store::meta(const std::string& key) {
  const std::lock_guard guard(impl_->database_mutex);
  return impl_->tables.meta(key);
}

void Store::put(StoredSandbox sandbox) {
  impl_->change([&](PendingWrites& pending) {
    std::string id = sandbox.id;
    pending.sandboxes.insert_or_assign(std::move(id), std::move(sandbox));
  });
}

void Store::erase_sandbox(const std::string& id) {
  impl_->change([&](PendingWrites& pending) { pending.sandboxes.insert_or_assign(id, std::nullopt); });
}

void Store::put(StoredTemplate saved) {
  impl_->change([&](PendingWrites& pending) {
    std::string id = saved.id;
    pending.templates.insert_or_assign(std::move(id), std::move(saved));
  });
}

void Store::erase_template(const std::string& id) {
  impl_->change([&](PendingWrites& pending) { pending.templates.insert_or_assign(id, std::nullopt); });
}

void Store::set_meta(const std::string& key, std::string value) {
  impl_->change([&](PendingWrites& pending) { pending.meta.insert_or_assign(key, std::move(value)); });
}

Result<void> Store::flush() {
  std::unique_lock guard(impl_->mutex);
  const std::uint64_t upto = impl_->wanted;
  const std::uint64_t failed_before = impl_->failures;
  ++impl_->flushes;
  impl_->write_at(core::SteadyClock::now());
  impl_->settled.wait(guard, [&] { return impl_->done >= upto || impl_->failures != failed_before; });
  if (impl_->done >= upto) return {};
  return *impl_->failure;
}

}  // namespace sandbox::server
