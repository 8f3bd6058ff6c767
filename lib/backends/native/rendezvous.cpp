#include "backends/native/rendezvous.hpp"
#include "core/sync_point.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace sandbox::native {
namespace {

using core::UniqueFd;

constexpr const char* kOperation = "native.rendezvous";
constexpr std::string_view kPrefix = "launcher-", kSuffix = ".sock";
/// How long the lock of a process that was killed a moment ago may still be held: its memory goes first.
constexpr auto kHandOver = std::chrono::seconds(5);

/// The address of `name` in `directory`. A path in sockaddr_un ends at 107 bytes, and a state directory's may be longer.
sockaddr_un address_of(int directory, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, name.c_str());
  return address;
}

bool is_ours(std::string_view name) {
  return name.starts_with(kPrefix) && name.ends_with(kSuffix) && name.size() < 64 && name.find('/') == name.npos;
}

}  // namespace

Result<std::unique_ptr<Rendezvous>> Rendezvous::open(const std::string& directory, core::TimePoint deadline) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return Error::from_errno(errno, kOperation, directory);
  UniqueFd handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!handle) return Error::from_errno(errno, kOperation, directory);
  struct stat info {};
  if (::fstat(handle.get(), &info) != 0) return Error::from_errno(errno, kOperation, directory);
  if (info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return Error(ErrorCode::failed_precondition, directory + " must be ours alone: owner " + std::to_string(::geteuid()) + ", mode 0700")
        .with_operation(kOperation);
  UniqueFd lock(::openat(handle.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock) return Error::from_errno(errno, kOperation, directory + "/lock");
  const auto until = std::min(deadline, core::SteadyClock::now() + kHandOver);
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return Error::from_errno(errno, kOperation, directory + "/lock");
    if (core::SteadyClock::now() >= until)
      return Error(ErrorCode::already_exists, "another persistent runtime works in " + directory).with_operation(kOperation);
    ::poll(nullptr, 0, 5);
  }
  return std::unique_ptr<Rendezvous>(new Rendezvous(directory, std::move(handle), std::move(lock)));
}

std::vector<Rendezvous::Caller> Rendezvous::callers() {
  std::vector<Caller> found;
  UniqueFd again(::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* entries = again ? ::fdopendir(again.get()) : nullptr;
  if (!entries) return found;
  (void)again.release();  // the stream's now
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(entries))
    if (is_ours(entry->d_name)) names.emplace_back(entry->d_name);
  ::closedir(entries);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(directory_.get(), name);
    if (socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      found.push_back({name, std::move(socket)});
    } else if (errno == ECONNREFUSED) {
      ::unlinkat(directory_.get(), name.c_str(), 0);  // its launcher was killed
    }
  }
  return found;
}

Result<void> Rendezvous::persist(Launcher& launcher, std::chrono::milliseconds orphan_time, core::TimePoint deadline) {
  std::uint64_t random = 0;
  while (::getrandom(&random, sizeof random, 0) != sizeof random) {
  }
  char number[17];
  std::snprintf(number, sizeof number, "%016llx", static_cast<unsigned long long>(random));
  const std::string name = std::string(kPrefix) + number + std::string(kSuffix);
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(directory_.get(), name);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(socket.get(), 16) != 0)
    return Error::from_errno(errno, kOperation, path_ + "/" + name);
  SANDBOX_SYNC_POINT("native.rendezvous_bound");
  launch::Persist request;
  request.path = path_ + "/" + name;
  request.orphan_ms = static_cast<std::uint32_t>(std::clamp<std::int64_t>(orphan_time.count(), 1, launch::kMaxOrphanMs));
  const int fds[] = {socket.get()};
  auto told = launcher.call(launch::Kind::persist, protocol::encode(request), deadline, fds);
  if (!told) {
    ::unlinkat(directory_.get(), name.c_str(), 0);
    return std::move(told).error();
  }
  launcher.persistent = true;
  return {};
}

}  // namespace sandbox::native
