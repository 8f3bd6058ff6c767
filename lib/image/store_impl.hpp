#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/text.hpp"
#include "core/unique_fd.hpp"
#include "image/store.hpp"
#include "os/beneath.hpp"

/// What the parts of the store share: its locks, and what it knows. store.cpp has images and their layers, templates.cpp what is
/// saved, collect.cpp what goes.
namespace sandbox::image {

using core::UniqueFd;

/// A template as its record tells of it.
struct KnownTemplate {
  TemplateInfo info;
  std::string base;  ///< TemplateRecord::base
};

inline bool is_template_id(std::string_view id) {
  return id.starts_with("tpl-") && id.size() == 20 && id.find_first_not_of("0123456789abcdef", 4) == std::string_view::npos;
}

inline Error about(const std::string& path, int number) { return Error::from_errno(number, "image.open", core::escape_control(path)); }

inline Result<std::size_t> read_some(int fd, std::span<std::byte> buffer, std::string_view what) {
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return Error::from_errno(errno, "image.read", what);
  }
}

/// An exclusive flock(2) on the store, for what must be seen whole by other processes. Short.
class StoreLock {
 public:
  static Result<StoreLock> take(int root) {
    UniqueFd fd(::openat(root, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) return Error::from_errno(errno, "image.lock");
    while (::flock(fd.get(), LOCK_EX) != 0)
      if (errno != EINTR) return Error::from_errno(errno, "image.lock");
    return StoreLock(std::move(fd));
  }
  StoreLock(StoreLock&&) = default;
  /// By name, not by closing: a child that this process is about to execute (a launcher) may have a copy for a moment.
  ~StoreLock() {
    if (fd_) ::flock(fd_.get(), LOCK_UN);
  }

 private:
  explicit StoreLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// A directory for unfinished work. Its lock tells other processes' sweeps that somebody is at it; removed with the object.
class Work {
 public:
  static Result<Work> make(int root, int parent) {
    SANDBOX_TRY(const StoreLock lock, StoreLock::take(root));  // between mkdir and flock no sweep may look
    std::uint64_t random = 0;
    while (::getrandom(&random, sizeof random, 0) != sizeof random) {
    }
    std::string name = core::to_hex(&random, sizeof random);
    if (::mkdirat(parent, name.c_str(), 0700) != 0) return Error::from_errno(errno, "image.work", name);
    UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return Error::from_errno(errno, "image.work", name);
    return Work(parent, std::move(name), std::move(fd));
  }
  Work(Work&& other) noexcept : parent_(other.parent_), name_(std::exchange(other.name_, {})), fd_(std::move(other.fd_)) {}
  Work& operator=(Work&&) = delete;
  ~Work() {
    if (!name_.empty()) os::beneath::remove_tree(parent_, name_).ignore("the next open sweeps it");
  }
  int fd() const noexcept { return fd_.get(); }

 private:
  Work(int parent, std::string name, UniqueFd fd) : parent_(parent), name_(std::move(name)), fd_(std::move(fd)) {}
  int parent_;
  std::string name_;
  UniqueFd fd_;
};

/// Notes in a layer's ctime that it is in use, or was until now.
inline void note_use(int layer) {
  const timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  static_cast<void>(::futimens(layer, times));  // refused: it is unpacked again if it is removed too soon
}

/// A shared flock on a layer: whoever removes layers asks for the exclusive one.
struct LayerPin {
  LayerPin() = default;
  LayerPin(const LayerPin&) = delete;
  ~LayerPin() {
    if (!directory) return;
    note_use(directory.get());
    ::flock(directory.get(), LOCK_UN);  // as for StoreLock
  }
  UniqueFd directory;
};

struct ImageStore::Impl {
  StoreOptions options;
  UniqueFd root, layers, templates, work;

  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::string> unpacking;               ///< digests
  std::map<std::string, std::string> digests;    ///< identity of a tar -> digest of its content
  std::map<std::string, std::weak_ptr<LayerPin>> pins;

  std::string layer_path(const std::string& digest) const { return options.directory + "/layers/" + digest; }

  Result<void> sweep();
  Result<std::string> digest_of(int fd, const std::string& identity, const std::string& path);
  Result<std::shared_ptr<LayerPin>> pin(const std::string& digest);
  Result<std::shared_ptr<LayerPin>> layer(const std::string& digest, const std::function<Result<void>(int tree)>& fill);
  Result<std::shared_ptr<LayerPin>> make_layer(const std::string& digest, const std::function<Result<void>(int tree)>& fill);
  Result<KnownTemplate> read_record(const std::string& id) const;
  std::string base_of(const ImageStore& store, const Image& image);
  Result<std::set<std::string>> kept() const;
  Result<std::vector<PrunedLayer>> unused(std::chrono::seconds unused_for, std::size_t most,
                                          const std::function<bool(const std::string&)>& take) const;
  Result<std::vector<PrunedLayer>> look_for_unused(std::chrono::seconds unused_for, std::size_t most) const;
  Result<std::vector<PrunedLayer>> take_unused(std::chrono::seconds unused_for, std::size_t most, int place,
                                               std::optional<Error>& failure) const;
  Result<void> unpack_template(const TemplateInfo& info, int tree);
};

}  // namespace sandbox::image
