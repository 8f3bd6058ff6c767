#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <optional>
#include <unordered_set>

#include "agent/fs_methods.hpp"
#include "agent/walk.hpp"
#include "agent/watch_tree.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsWatch = "fs.watch";
constexpr std::size_t kMaxWatches = 65536;       ///< directories of one watch
constexpr std::size_t kMaxRemembered = 4096;     ///< names a scan reported, to tell their events from news
constexpr std::size_t kBatchEvents = 256;
constexpr std::size_t kBatchBytes = 56 << 10;    ///< of paths: far below what one message holds (protocol::kMaxRequest)
constexpr std::size_t kReadSize = 16 << 10;
/// How long the first half of a rename waits for the second when the kernel has not queued it yet.
constexpr auto kPairWait = std::chrono::milliseconds(10);

constexpr std::uint32_t kMask = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                IN_DELETE_SELF | IN_MOVE_SELF | IN_EXCL_UNLINK;

/// Reports changes below a directory (or of one file) until cancelled. The first event is `ready`. A directory that
/// appears is watched first and then searched, so nothing that is put into it is missed; something put into it at that
/// moment may be reported twice if the directory has more than kMaxRemembered entries. When the client does not read,
/// the kernel's queue overflows and `overflow` is reported: memory stays bounded. Symlinks are not followed below the
/// root. Files that the agent assembles without a name or under a temporary one are reported under their own name only,
/// and of a tree that it removes what it puts aside is reported as removed where it was.
/// Errors: resource_exhausted (inotify limits of the user, more than 65536 directories), not_found when the watched
/// root itself goes away (after a last `removed`).
class FsWatch final : public FileOperation {
 public:
  FsWatch(Context context, protocol::FsWatchRequest request) : FileOperation(context), request_(std::move(request)), tree_(trim(request_.path)) {}
  ~FsWatch() override { release(); }

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kFsWatch, request_.path));
    struct stat info;
    if (::stat(request_.path.c_str(), &info) != 0) return file_error(errno, kFsWatch, request_.path);
    inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!inotify_) return file_error(errno, kFsWatch, "inotify");
    root_ = ::inotify_add_watch(inotify_.get(), request_.path.c_str(), kMask);
    if (root_ < 0) return watch_error(errno, request_.path);
    tree_.add(root_, -1, {});
    is_directory_ = S_ISDIR(info.st_mode);
    if (is_directory_ && request_.recursive) to_scan_.push_back(root_);
    return slice();
  }

  /// Searches directories that have just got a watch; then reads events.
  Result<void> slice() override {
    for (int i = 0; i < kEntriesPerSlice && (scanning_ || !to_scan_.empty()); ++i) SANDBOX_CHECK(scan_step());
    if (scanning_ || !to_scan_.empty()) {
      flush();
      again_when_sent();
      return {};
    }
    if (!ready_) {
      ready_ = true;
      SANDBOX_CHECK(context().loop.watch(inotify_.get(), EPOLLIN, [this](std::uint32_t) { check(readable()); }));
      add(protocol::FsEventKind::ready, request_.path, protocol::FileType::unknown);
    } else {
      // Events of what was scanned and is queued now are no news; what is queued from here on is.
      int queued = 0;
      ::ioctl(inotify_.get(), FIONREAD, &queued);
      forget_scanned_at_ = read_total_ + static_cast<std::uint64_t>(queued);
      if (paused_) {
        paused_ = false;
        context().loop.rewatch(inotify_.get(), EPOLLIN);
      }
    }
    flush();
    return {};
  }

  void release() noexcept override {
    if (timer_) context().loop.cancel_timer(std::exchange(timer_, 0));
    if (inotify_) context().loop.unwatch(inotify_.get());
    inotify_.reset();
    reader_ = {};
  }

 private:
  static std::string trim(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return path;
  }
  static Error watch_error(int number, std::string_view path) {
    if (number != ENOSPC) return file_error(number, kFsWatch, path);
    return Error(ErrorCode::resource_exhausted, "the limit of inotify watches (fs.inotify.max_user_watches) is reached")
        .with_errno(number)
        .with_operation(std::string(kFsWatch));
  }

  // -- events out ----------------------------------------------------------------------------------------------------

  void add(protocol::FsEventKind kind, std::string path, protocol::FileType type, std::string old_path = {}) {
    if (!out_.events.empty()) {
      const auto& last = out_.events.back();
      const bool repeats = kind == protocol::FsEventKind::modified || kind == protocol::FsEventKind::attributes ||
                           kind == protocol::FsEventKind::overflow;
      if (repeats && last.kind == kind && last.path == path) return;
    }
    protocol::FsEvent event;
    event.kind = kind;
    event.path = std::move(path);
    event.old_path = std::move(old_path);
    event.type = type;
    out_bytes_ += event.path.size() + event.old_path.size();
    out_.events.push_back(std::move(event));
    if (out_.events.size() >= kBatchEvents || out_bytes_ >= kBatchBytes) flush();
  }
  void flush() {
    if (out_.events.empty()) return;
    message(out_);
    out_.events.clear();
    out_bytes_ = 0;
  }

  /// The path to tell of; when the directory is not of the tree (any more) nobody knows it, and that something was lost is
  /// told instead.
  std::optional<std::string> path_of(int watch, std::string_view name) {
    auto path = tree_.path(watch, name);
    if (!path) add(protocol::FsEventKind::overflow, request_.path, protocol::FileType::unknown);
    return path;
  }

  // -- scanning ------------------------------------------------------------------------------------------------------

  /// Watches directory `name` of `parent` and puts it on the list to be searched.
  Result<void> watch_directory(int parent, std::string_view name) {
    const auto path = path_of(parent, name);
    if (!path || path->size() > protocol::kMaxPath) return {};
    const int watch = tree_.size() >= kMaxWatches
                          ? (errno = ENOSPC, -1)
                          : ::inotify_add_watch(inotify_.get(), path->c_str(), kMask | IN_ONLYDIR | IN_DONT_FOLLOW);
    if (watch < 0) {
      if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP) return {};  // gone, or not ours to see
      if (!ready_) return watch_error(errno, *path);
      add(protocol::FsEventKind::overflow, request_.path, protocol::FileType::directory);
      return {};
    }
    if (watch != root_ && tree_.add(watch, parent, name)) to_scan_.push_back(watch);
    return {};
  }

  Result<void> scan_step() {
    if (!scanning_) {
      scanned_ = to_scan_.front();
      to_scan_.pop_front();
      const auto path = tree_.path(scanned_);
      if (!path) return {};
      const int follow = scanned_ == root_ ? 0 : O_NOFOLLOW;
      core::UniqueFd directory(::open(path->c_str(), O_RDONLY | O_DIRECTORY | follow | O_CLOEXEC));
      if (!directory) {
        if (scanned_ == root_ && !ready_) return file_error(errno, kFsWatch, request_.path);
        return {};
      }
      reader_ = DirectoryReader(std::move(directory));
      scanning_ = true;
      return {};
    }
    DirectoryReader::Entry entry;
    if (!reader_.next(entry)) {
      reader_ = {};
      scanning_ = false;
      return {};
    }
    if (is_temporary_name(entry.name)) return {};
    auto type = entry.type;
    if (type == protocol::FileType::unknown) {
      struct stat info;
      if (::fstatat(reader_.fd(), entry.name, &info, AT_SYMLINK_NOFOLLOW) == 0) type = file_type(info.st_mode);
    }
    if (ready_) {
      if (auto path = path_of(scanned_, entry.name)) add(protocol::FsEventKind::created, *std::move(path), type);
      if (remembered_.size() < kMaxRemembered) remembered_.insert(key(scanned_, entry.name));
    }
    if (type == protocol::FileType::directory) return watch_directory(scanned_, entry.name);
    return {};
  }

  static std::string key(int watch, std::string_view name) {
    std::string key(reinterpret_cast<const char*>(&watch), sizeof watch);
    key += name;
    return key;
  }

  // -- events in -----------------------------------------------------------------------------------------------------

  Result<void> readable() {
    if (!session().can_message(stream()) || scanning_ || !to_scan_.empty()) {
      // Leave them to the kernel, which merges, counts and in the end overflows.
      pause();
      again_when_sent();  // or on_drained
      return {};
    }
    alignas(inotify_event) char buffer[kReadSize];
    const auto got = ::read(inotify_.get(), buffer, sizeof buffer);
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) return {};
      return file_error(errno, kFsWatch, request_.path);
    }
    for (ssize_t at = 0; at < got && !ended();) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      const char* text = buffer + at + sizeof event;
      const std::string_view name(text, event.len ? ::strnlen(text, event.len) : 0);
      at += static_cast<ssize_t>(sizeof event + event.len);
      read_total_ += sizeof event + event.len;
      SANDBOX_CHECK(handle(event, name));
      if (read_total_ >= forget_scanned_at_ && to_scan_.empty()) remembered_.clear();
    }
    if (ended()) return {};
    if (moving_ && !timer_) {
      timer_ = context().loop.at(context().loop.now() + kPairWait, [this] {
        timer_ = 0;
        settle_move();
        flush();
      });
    }
    flush();
    if (!to_scan_.empty()) {
      pause();
      again_when_sent();
    }
    return {};
  }

  void pause() {
    if (paused_) return;
    paused_ = true;
    context().loop.pause(inotify_.get());
  }

  Result<void> handle(const inotify_event& event, std::string_view name) {
    using protocol::FsEventKind;
    if (event.mask & IN_Q_OVERFLOW) {
      settle_move();
      add(FsEventKind::overflow, request_.path, protocol::FileType::unknown);
      return {};
    }
    if (event.mask & IN_IGNORED) {
      if (event.wd != root_) tree_.forget(event.wd);
      return {};
    }
    if (!tree_.contains(event.wd)) return {};  // of a directory that was moved out of the tree
    const bool directory = event.mask & IN_ISDIR;
    const auto type = directory ? protocol::FileType::directory : protocol::FileType::unknown;
    // The second half of a rename directly follows the first; anything else means it left the tree.
    if (moving_ && !((event.mask & IN_MOVED_TO) && event.cookie == moving_->cookie)) settle_move();

    if (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF)) {
      if (event.wd != root_) return {};  // its parent tells
      add(FsEventKind::removed, request_.path, is_directory_ ? protocol::FileType::directory : protocol::FileType::regular);
      flush();
      return Error(ErrorCode::not_found, "what was watched is gone").with_operation(std::string(kFsWatch));
    }
    if (event.mask & IN_MOVED_FROM) {
      moving_ = Move{event.cookie, event.wd, std::string(name), directory};
      return {};
    }
    if (event.mask & IN_MOVED_TO) return moved_to(event, name, type);
    if (is_temporary_name(name)) return {};
    if (event.mask & (IN_MODIFY | IN_ATTRIB) && is_unnamed(event.wd, name)) return {};
    auto path = path_of(event.wd, name);
    if (!path) return {};
    if (event.mask & IN_CREATE) {
      const bool reported = remembered_.erase(key(event.wd, name)) > 0;
      if (!reported) add(FsEventKind::created, *std::move(path), directory ? type : look(event.wd, name));
      if (directory && request_.recursive) return watch_directory(event.wd, name);
    } else if (event.mask & IN_DELETE) {
      remembered_.erase(key(event.wd, name));
      add(FsEventKind::removed, *std::move(path), type);
    } else if (event.mask & IN_MODIFY) {
      add(FsEventKind::modified, *std::move(path), protocol::FileType::regular);
    } else if (event.mask & IN_ATTRIB) {
      // A directory tells of itself and its parent tells of it: once is enough.
      if (name.empty() && event.wd != root_) return {};
      add(FsEventKind::attributes, *std::move(path), name.empty() && is_directory_ ? protocol::FileType::directory : type);
    }
    return {};
  }

  /// What a new name is: inotify only tells directories from the rest.
  protocol::FileType look(int watch, std::string_view name) const {
    struct stat info;
    const auto path = tree_.path(watch, name);
    if (!path || ::lstat(path->c_str(), &info) != 0) return protocol::FileType::unknown;
    return file_type(info.st_mode);
  }

  /// Whether `name` is what the kernel calls a file made with O_TMPFILE while it has no name, '#' and its inode. Its
  /// directory hears of some changes nevertheless (fchmod(2), ftruncate(2)).
  bool is_unnamed(int watch, std::string_view name) const {
    if (name.size() < 2 || name[0] != '#' || name.find_first_not_of("0123456789", 1) != std::string_view::npos) return false;
    return look(watch, name) == protocol::FileType::unknown;
  }

  Result<void> moved_to(const inotify_event& event, std::string_view name, protocol::FileType type) {
    using protocol::FsEventKind;
    auto path = path_of(event.wd, name);
    if (!path) return {};
    const bool directory = event.mask & IN_ISDIR;
    if (is_temporary_name(name)) {
      // Put aside to be removed: for whoever watches it has left the tree.
      settle_move();
      return {};
    }
    if (!directory) type = look(event.wd, name);
    const auto from = std::exchange(moving_, std::nullopt);
    remembered_.erase(key(event.wd, name));
    // A directory that is replaced by the rename was empty and tells of its own end.
    if (!from || (directory && is_temporary_name(from->name))) {
      add(FsEventKind::created, *std::move(path), type);
      if (directory && request_.recursive) return watch_directory(event.wd, name);
      return {};
    }
    if (is_temporary_name(from->name)) add(FsEventKind::modified, *std::move(path), type);
    else if (auto old_path = tree_.path(from->watch, from->name)) add(FsEventKind::renamed, *std::move(path), type, *std::move(old_path));
    else add(FsEventKind::created, *std::move(path), type);
    if (!directory) return {};
    const int moved = tree_.child(from->watch, from->name);
    if (moved >= 0) tree_.move(moved, event.wd, name);
    else if (request_.recursive) return watch_directory(event.wd, name);  // it was not watched yet
    return {};
  }

  /// A rename whose second half did not come: it left the tree.
  void settle_move() {
    if (timer_) context().loop.cancel_timer(std::exchange(timer_, 0));
    const auto from = std::exchange(moving_, std::nullopt);
    if (!from) return;
    remembered_.erase(key(from->watch, from->name));
    if (!is_temporary_name(from->name)) {
      if (auto path = path_of(from->watch, from->name))
        add(protocol::FsEventKind::removed, *std::move(path), from->directory ? protocol::FileType::directory : protocol::FileType::unknown);
    }
    if (!from->directory) return;
    const int watch = tree_.child(from->watch, from->name);
    if (watch >= 0) tree_.remove_subtree(watch, [this](int gone) { ::inotify_rm_watch(inotify_.get(), gone); });
  }

  struct Move {
    std::uint32_t cookie;
    int watch;
    std::string name;
    bool directory;
  };

  protocol::FsWatchRequest request_;
  WatchTree tree_;
  core::UniqueFd inotify_;
  int root_ = -1;
  bool is_directory_ = false, ready_ = false, paused_ = false;
  protocol::FsEvents out_;
  std::size_t out_bytes_ = 0;   ///< of the paths in out_
  std::optional<Move> moving_;
  Loop::TimerId timer_ = 0;

  std::deque<int> to_scan_;     ///< watches whose directories are to be searched
  bool scanning_ = false;
  int scanned_ = -1;            ///< the watch of reader_
  DirectoryReader reader_;
  std::unordered_set<std::string> remembered_;   ///< reported by a scan; their queued events are dropped
  std::uint64_t read_total_ = 0, forget_scanned_at_ = 0;  ///< bytes of inotify events
};

}  // namespace

Made make_fs_watch(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsWatch, protocol::FsWatchRequest>(context, params, key);
}

}  // namespace sandbox::agent
