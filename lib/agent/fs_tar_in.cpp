#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <limits>
#include <vector>

#include "agent/fs_methods.hpp"
#include "core/text.hpp"
#include "tarstream/reader.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsTarIn = "fs.tar_in";
constexpr int kMembersPerSlice = 64;

/// Extracts a tar stream below a directory, and nowhere else whatever the stream says or the guest does meanwhile:
/// leading slashes are dropped; a ".." ends the extraction with invalid_argument; directories are opened beneath the
/// target without following symlinks; files, symlinks and hardlinks replace what has their name instead of writing
/// through it; hardlinks only join members to what is beneath the target. Devices, FIFOs and sparse files are skipped
/// and named in the result. Owners are ignored (all belongs to the agent's user); permission bits without setuid and
/// setgid and modification times are applied, those of a directory when the stream leaves it.
class FsTarIn final : public FileOperation {
 public:
  FsTarIn(Context context, protocol::FsTarRequest request) : FileOperation(context), request_(std::move(request)) {}

  void on_data(session::Channel channel, ByteView data, bool fin) override {
    if (ended()) return;
    if (channel != session::Channel::in) return session().consumed(stream(), channel, data.size());
    fin_ = fin_ || fin;
    if (waiting_.empty()) {
      ByteView rest = data;
      check(work(rest));
      if (ended()) return;
      session().consumed(stream(), channel, data.size() - rest.size());
      waiting_ = as_text(rest);  // at most the credit we gave
      if (!waiting_.empty()) return again();
    } else {
      waiting_ += as_text(data);
    }
    if (waiting_.empty() && fin_) check(succeed());
  }

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kFsTarIn, request_.path));
    SANDBOX_CHECK(make_directories(kFsTarIn, request_.path, 0755));
    root_.reset(::open(request_.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_) return file_error(errno, kFsTarIn, request_.path);
    return {};
  }

  Result<void> slice() override {
    ByteView rest = as_bytes(waiting_).subspan(taken_);
    const std::size_t before = rest.size();
    SANDBOX_CHECK(work(rest));
    session().consumed(stream(), session::Channel::in, before - rest.size());
    taken_ = waiting_.size() - rest.size();
    if (!rest.empty()) {
      again();
      return {};
    }
    waiting_.clear();
    taken_ = 0;
    if (fin_) return succeed();
    return {};
  }

  void release() noexcept override {
    if (file_) {  // incomplete
      file_.reset();
      ::unlinkat(parent_.get(), base_.c_str(), 0);
    }
    directories_.clear();
    parent_.reset();
    root_.reset();
  }

 public:
  ~FsTarIn() override { release(); }

 private:
  struct Directory {
    std::string path;
    mode_t mode;
    std::int64_t modified_ns;
  };

  Error refuse(std::string_view member, std::string_view why) {
    return Error(ErrorCode::invalid_argument, core::escape_control(member) + ": " + std::string(why))
        .with_operation(std::string(kFsTarIn));
  }
  Error member_error(int number) { return file_error(number, kFsTarIn, name_); }

  Result<void> succeed() {
    if (auto complete = reader_.finish(); !complete) return std::move(complete.error()).with_operation(std::string(kFsTarIn));
    while (!directories_.empty()) leave_directory();
    finish(result_);
    return {};
  }

  Result<void> work(ByteView& input) {
    for (int members = 0; members < kMembersPerSlice;) {
      auto event = reader_.next(input);
      if (!event) return std::move(event.error()).with_operation(std::string(kFsTarIn));
      switch (*event) {
        case tarstream::Reader::Event::need_more: return {};
        case tarstream::Reader::Event::member: SANDBOX_CHECK(begin_member()); break;
        case tarstream::Reader::Event::data: SANDBOX_CHECK(write(reader_.data())); break;
        case tarstream::Reader::Event::member_end:
          SANDBOX_CHECK(end_member());
          ++members;
          break;
        case tarstream::Reader::Event::end: break;
      }
    }
    return {};
  }

  /// A member's name as a path beneath the target: no leading slash, no ".", no empty component; ".." is refused.
  Result<std::string> beneath(std::string_view name, std::string_view member) {
    std::string path;
    for (std::string_view rest = name; !rest.empty();) {
      const auto slash = rest.find('/');
      const auto component = rest.substr(0, slash);
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
      if (component.empty() || component == ".") continue;
      if (component == "..") return refuse(member, "tar member leaves the target directory");
      if (!path.empty()) path += '/';
      path += component;
    }
    if (path.size() > protocol::kMaxPath) return refuse(member.substr(0, 200), "tar member's name is too long");
    return path;
  }

  static std::string_view directory_of(std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  }

  Result<void> begin_member() {
    using tarstream::Kind;
    const auto& member = reader_.member();
    SANDBOX_TRY(name_, beneath(member.name, member.name));
    while (!directories_.empty() && !is_below(name_, directories_.back().path)) leave_directory();
    if (name_.empty()) {  // "./": the target itself, which keeps the permissions it has
      if (member.kind != Kind::directory) return refuse(member.name, "tar member has no name");
      return {};
    }
    const bool known = member.kind == Kind::file || member.kind == Kind::directory || member.kind == Kind::symlink ||
                       member.kind == Kind::hardlink;
    if (!known) {
      if (result_.skipped.size() < kMaxSkipped) result_.skipped.push_back(name_);
      return {};
    }
    const auto directory = directory_of(name_);
    SANDBOX_CHECK(enter(directory));
    base_ = directory.empty() ? name_ : name_.substr(directory.size() + 1);
    ++result_.entries;
    switch (member.kind) {
      case Kind::directory: return make_directory(member);
      case Kind::symlink: return make_symlink(member);
      case Kind::hardlink: return make_hardlink(member);
      default: return make_file();
    }
  }

  static bool is_below(std::string_view path, std::string_view directory) {
    return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
  }

  /// Makes parent_ the directory `path` beneath the target, created where missing.
  Result<void> enter(std::string_view path) {
    if (parent_ && parent_path_ == path) return {};
    parent_ = open_beneath(root_.get(), path, O_PATH | O_DIRECTORY);
    if (!parent_ && errno == ENOENT) {
      core::UniqueFd at = open_beneath(root_.get(), {}, O_PATH | O_DIRECTORY);
      for (std::string_view rest = path; at && !rest.empty();) {
        const auto slash = rest.find('/');
        const std::string component(rest.substr(0, slash));
        rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
        if (::mkdirat(at.get(), component.c_str(), 0755) != 0 && errno != EEXIST) return member_error(errno);
        at = open_beneath(at.get(), component, O_PATH | O_DIRECTORY);
      }
      parent_ = std::move(at);
    }
    if (!parent_) {
      if (errno == ELOOP || errno == ENOTDIR || errno == EXDEV)
        return refuse(name_, "tar member passes through a symlink or a file");
      return member_error(errno);
    }
    parent_path_ = path;
    return {};
  }

  /// Removes what has the member's name, unless it is a directory.
  Result<void> make_way() {
    if (::unlinkat(parent_.get(), base_.c_str(), 0) == 0 || errno == ENOENT) return {};
    return member_error(errno);
  }

  Result<void> make_directory(const tarstream::Member& member) {
    if (::mkdirat(parent_.get(), base_.c_str(), 0700) != 0) {
      if (errno != EEXIST) return member_error(errno);
      struct stat info;
      if (::fstatat(parent_.get(), base_.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return member_error(errno);
      if (!S_ISDIR(info.st_mode)) return refuse(name_, "tar directory would replace something else");
    }
    directories_.push_back({name_, static_cast<mode_t>(member.mode & 01777), member.modified_ns});
    return {};
  }

  /// Nothing below the directory follows (in any usual archive): now its permissions and time can be set. Failure means
  /// the guest replaced it.
  void leave_directory() {
    const Directory directory = std::move(directories_.back());
    directories_.pop_back();
    const auto fd = open_beneath(root_.get(), directory.path, O_RDONLY | O_DIRECTORY);
    if (!fd) return;
    const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(directory.modified_ns)};
    ::futimens(fd.get(), times);
    ::fchmod(fd.get(), directory.mode);
  }

  Result<void> make_symlink(const tarstream::Member& member) {
    if (member.link.empty() || member.link.size() > protocol::kMaxPath) return refuse(name_, "tar symlink has no valid target");
    for (int attempt = 0; ::symlinkat(member.link.c_str(), parent_.get(), base_.c_str()) != 0; ++attempt) {
      if (errno != EEXIST || attempt == 3) return member_error(errno);
      SANDBOX_CHECK(make_way());
    }
    const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(member.modified_ns)};
    ::utimensat(parent_.get(), base_.c_str(), times, AT_SYMLINK_NOFOLLOW);
    return {};
  }

  Result<void> make_hardlink(const tarstream::Member& member) {
    SANDBOX_TRY(const std::string target, beneath(member.link, member.name));
    const auto directory = directory_of(target);
    const auto from = open_beneath(root_.get(), directory, O_PATH | O_DIRECTORY);
    if (!from) {
      if (errno == ELOOP || errno == ENOTDIR || errno == EXDEV) return refuse(name_, "tar hardlink passes through a symlink or a file");
      return member_error(errno);
    }
    const std::string source = directory.empty() ? target : target.substr(directory.size() + 1);
    for (int attempt = 0; ::linkat(from.get(), source.c_str(), parent_.get(), base_.c_str(), 0) != 0; ++attempt) {
      if (errno != EEXIST || attempt == 3) return member_error(errno);
      struct stat a, b;
      if (::fstatat(from.get(), source.c_str(), &a, AT_SYMLINK_NOFOLLOW) == 0 &&
          ::fstatat(parent_.get(), base_.c_str(), &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return {};  // already the same file; making way would remove it
      SANDBOX_CHECK(make_way());
    }
    return {};
  }

  Result<void> make_file() {
    for (int attempt = 0;; ++attempt) {
      file_.reset(::openat(parent_.get(), base_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600));
      if (file_) return {};
      if (errno != EEXIST || attempt == 3) return member_error(errno);
      SANDBOX_CHECK(make_way());
    }
  }

  Result<void> write(ByteView data) {
    if (!file_) return {};  // content of a skipped member
    while (!data.empty()) {
      const auto wrote = ::write(file_.get(), data.data(), data.size());
      if (wrote < 0) {
        if (errno == EINTR) continue;
        return member_error(errno);
      }
      data = data.subspan(static_cast<std::size_t>(wrote));
      result_.bytes += static_cast<std::uint64_t>(wrote);
    }
    return {};
  }

  Result<void> end_member() {
    if (!file_) return {};
    const auto& member = reader_.member();
    const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(member.modified_ns)};
    if (::fchmod(file_.get(), member.mode & 0777) != 0 || ::futimens(file_.get(), times) != 0) return member_error(errno);
    file_.reset();
    return {};
  }

  protocol::FsTarRequest request_;
  tarstream::Reader reader_;
  protocol::FsTarResult result_;
  core::UniqueFd root_, parent_;
  std::string parent_path_;         ///< of parent_, beneath the target
  std::string name_, base_;         ///< of the current member: beneath the target, and in parent_
  core::UniqueFd file_;             ///< being written
  std::vector<Directory> directories_;  ///< those around the current member whose permissions are still to be set
  std::string waiting_;             ///< bytes received beyond one slice
  std::size_t taken_ = 0;
  bool fin_ = false;
};

}  // namespace

Made make_fs_tar_in(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsTarIn, protocol::FsTarRequest>(context, params, key);
}

}  // namespace sandbox::agent
