#include "agent/v1/files.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "agent/fs_support.hpp"
#include "agent/v1/params.hpp"
#include "agent/v1/state.hpp"
#include "agent/v1/text.hpp"
#include "agent/walk.hpp"

namespace sandbox::agent::v1 {
namespace {

constexpr std::size_t kMaxEntries = 1 << 17;

/// The type and permissions in the bit layout of Go's io/fs.FileMode.
std::uint32_t go_mode(mode_t mode) noexcept {
  std::uint32_t bits = mode & 0777;
  switch (mode & S_IFMT) {
    case S_IFREG: break;
    case S_IFDIR: bits |= 1u << 31; break;
    case S_IFLNK: bits |= 1u << 27; break;
    case S_IFBLK: bits |= 1u << 26; break;
    case S_IFIFO: bits |= 1u << 25; break;
    case S_IFSOCK: bits |= 1u << 24; break;
    case S_IFCHR: bits |= 1u << 26 | 1u << 21; break;
    default: bits |= 1u << 19; break;
  }
  if (mode & S_ISUID) bits |= 1u << 23;
  if (mode & S_ISGID) bits |= 1u << 22;
  if (mode & S_ISVTX) bits |= 1u << 20;
  return bits;
}

std::string file_info(std::string_view name, const struct stat& info) {
  const bool directory = S_ISDIR(info.st_mode);
  const std::string modified = "\"" + time_text(info.st_mtim.tv_sec, static_cast<std::uint32_t>(info.st_mtim.tv_nsec)) + "\"";
  return json::Object()
      .text("name", name)
      .number("size", info.st_size)
      .boolean("is_dir", directory)
      .number("mode", go_mode(info.st_mode))
      .raw("mod_time", modified)
      .boolean("isDir", directory)
      .number("modTime", info.st_mtim.tv_sec)
      .take();
}

/// The last component of a path as the client wrote it.
std::string_view base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos || path.size() == 1 ? path : path.substr(slash + 1);
}

/// Lists a directory in slices.
class Listing {
 public:
  Listing(State& state, Caller caller, std::string shown, core::UniqueFd directory)
      : state_(state), caller_(std::move(caller)), shown_(std::move(shown)), reader_(std::move(directory)) {}
  ~Listing() {
    if (slice_) state_.loop().cancel_slice(slice_);
  }

  void step() {
    slice_ = 0;
    for (int i = 0; i < kEntriesPerSlice; ++i) {
      if (!complete_) {
        DirectoryReader::Entry entry;
        if (reader_.next(entry)) {
          names_.emplace_back(entry.name);
          if (names_.size() > kMaxEntries) return fail("too many entries");
          continue;
        }
        if (reader_.error()) return fail(os_error("readdirent", shown_, reader_.error()));
        complete_ = true;
        std::sort(names_.begin(), names_.end());
      }
      if (at_ == names_.size()) {
        state_.answer(caller_, "[" + json_ + "]");
        return state_.release(this);
      }
      describe(names_[at_++]);
      if (json_.size() > kMaxFrame) return fail("too many entries");
    }
    slice_ = state_.loop().defer([this] { step(); });
  }

 private:
  void fail(std::string_view text) {
    state_.refuse(caller_, "read dir: " + std::string(text));
    state_.release(this);
  }
  void describe(const std::string& name) {
    struct stat info;
    if (::fstatat(reader_.fd(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;   // gone meanwhile
    if (!json_.empty()) json_ += ',';
    json_ += file_info(name, info);
  }

  State& state_;
  const Caller caller_;
  const std::string shown_;
  DirectoryReader reader_;
  std::vector<std::string> names_;
  std::size_t at_ = 0;
  bool complete_ = false;
  std::string json_;
  std::uint64_t slice_ = 0;
};

/// fs.remove, done by the operation of v2 clients on a directory that is open here.
class Removal final : public session::StreamHandler {
 public:
  Removal(State& state, Caller caller, Located located)
      : state_(state), caller_(std::move(caller)), located_(std::move(located)) {}

  void start(core::UniqueFd directory, const std::string& name, bool recursive) {
    directory_ = std::move(directory);
    protocol::FsRemoveRequest request;
    request.path = "/proc/self/fd/" + std::to_string(directory_.get()) + "/" + name;
    request.recursive = request.missing_ok = recursive;
    recursive_ = recursive;
    state_.loopback().open(protocol::Method::fs_remove, protocol::encode(request), this);
  }
  void on_end(const protocol::End& end) override {
    if (end.code == 0) state_.answer(caller_, "{\"success\":true}");
    else if (end.sys_errno == 0) state_.refuse(caller_, "remove: " + end.message);
    else state_.refuse(caller_, "remove: " + os_error(recursive_ ? "unlinkat" : "remove", located_.shown, end.sys_errno));
    state_.release(this);
  }
  void on_lost(const Error& error) override {
    state_.refuse(caller_, "remove: " + error.message());
    state_.release(this);
  }

 private:
  State& state_;
  const Caller caller_;
  const Located located_;
  core::UniqueFd directory_;
  bool recursive_ = false;
};

}  // namespace

std::string os_error(std::string_view what, std::string_view path, int number) {
  return std::string(what) + " " + std::string(path) + ": " + os_text(number);
}

std::string path_error(std::string_view prefix, std::string_view what, std::string_view path, const Error& error) {
  if (error.sys_errno() == 0) return error.message();
  return std::string(prefix) + os_error(what, path, error.sys_errno());
}

void fs_list(State& state, const Request& request) {
  Params params(request.params);
  const auto path = params.text("path");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  auto located = state.paths().locate(path);
  if (!located) return state.refuse(request.caller, path_error("read dir: ", "open", path, located.error()));
  core::UniqueFd directory = open_beneath(located->root.get(), located->relative, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (!directory) {
    const char* what = errno == ENOTDIR ? "readdirent" : "open";
    return state.refuse(request.caller, "read dir: " + os_error(what, located->shown, errno));
  }
  const auto listing = std::make_shared<Listing>(state, request.caller, located->shown, std::move(directory));
  state.hold(listing);
  listing->step();
}

void fs_stat(State& state, const Request& request) {
  Params params(request.params);
  const auto path = params.text("path");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  auto located = state.paths().locate(path);
  if (!located) return state.refuse(request.caller, path_error("stat: ", "stat", path, located.error()));
  const core::UniqueFd file = open_beneath(located->root.get(), located->relative, O_PATH);
  struct stat info;
  if (!file || ::fstat(file.get(), &info) != 0) return state.refuse(request.caller, "stat: " + os_error("stat", located->shown, errno));
  state.answer(request.caller, file_info(base_name(path), info));
}

void fs_remove(State& state, const Request& request) {
  Params params(request.params);
  const auto path = params.text("path");
  const bool recursive = params.boolean("recursive");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  auto located = state.paths().locate(path, Paths::Last::keep);
  if (!located) return state.refuse(request.caller, path_error("remove: ", "remove", path, located.error()));
  const auto fail = [&](int number) { state.refuse(request.caller, "remove: " + os_error("remove", located->shown, number)); };
  if (located->relative.empty()) return fail(EBUSY);   // the allowed directory itself
  core::UniqueFd directory = open_beneath(located->root.get(), located->directory(), O_PATH | O_DIRECTORY);
  if (!directory) {
    if (recursive && errno == ENOENT) return state.answer(request.caller, "{\"success\":true}");
    return fail(errno);
  }
  const std::string name = located->name();
  const auto removal = std::make_shared<Removal>(state, request.caller, *std::move(located));
  state.hold(removal);
  removal->start(std::move(directory), name, recursive);
}

void fs_rename(State& state, const Request& request) {
  Params params(request.params);
  const auto from = params.text(params.has("old") ? "old" : "oldPath");
  const auto to = params.text(params.has("new") ? "new" : "newPath");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  auto source = state.paths().locate(from, Paths::Last::keep);
  if (!source) return state.refuse(request.caller, path_error("rename: ", "rename", from, source.error()));
  auto target = state.paths().locate(to, Paths::Last::keep);
  if (!target) return state.refuse(request.caller, path_error("rename: ", "rename", to, target.error()));
  const auto fail = [&](int number) {
    state.refuse(request.caller, "rename: " + os_error("rename", source->shown + " " + target->shown, number));
  };
  if (source->relative.empty() || target->relative.empty()) return fail(EBUSY);
  const auto from_dir = open_beneath(source->root.get(), source->directory(), O_PATH | O_DIRECTORY);
  if (!from_dir) return fail(errno);
  const auto to_dir = open_beneath(target->root.get(), target->directory(), O_PATH | O_DIRECTORY);
  if (!to_dir) return fail(errno);
  if (::renameat(from_dir.get(), source->name().c_str(), to_dir.get(), target->name().c_str()) != 0) return fail(errno);
  state.answer(request.caller, "{\"success\":true}");
}

void fs_mkdir(State& state, const Request& request) {
  Params params(request.params);
  const auto path = params.text("path");
  const bool recursive = params.boolean("recursive");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  auto located = state.paths().locate(path);
  if (!located) return state.refuse(request.caller, path_error("mkdir: ", "mkdir", path, located.error()));
  const auto fail = [&](int number) { state.refuse(request.caller, "mkdir: " + os_error("mkdir", located->shown, number)); };
  if (recursive) {
    if (!make_beneath(located->root.get(), located->relative)) return fail(errno);
  } else {
    if (located->relative.empty()) return fail(EEXIST);
    const auto directory = open_beneath(located->root.get(), located->directory(), O_PATH | O_DIRECTORY);
    if (!directory || ::mkdirat(directory.get(), located->name().c_str(), 0755) != 0) return fail(errno);
  }
  state.answer(request.caller, "{\"success\":true}");
}

}  // namespace sandbox::agent::v1
