#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "agent/fs_methods.hpp"
#include "agent/walk.hpp"
#include "tarstream/writer.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsTarOut = "fs.tar_out";
constexpr std::size_t kSmallFile = 16 << 10;    ///< packed together with its header
constexpr std::size_t kGather = 64 << 10;       ///< headers and small files are sent in pieces of about this size

/// Packs a file or everything below a directory as a pax tar stream. Names are relative to the directory; a single file
/// has its own name. Symlinks are members, hardlinks are packed as copies. Sockets, FIFOs, devices and what could not be
/// read are left out and named in the result. A file that shrinks while it is read is filled up with zeros.
class FsTarOut final : public FileOperation {
 public:
  FsTarOut(Context context, protocol::FsTarRequest request) : FileOperation(context), request_(std::move(request)) {}

  void on_writable(session::Channel) override {
    if (!ended()) check(slice());
  }

 protected:
  Result<void> start() override {
    const auto& path = request_.path;
    SANDBOX_CHECK(check_path(kFsTarOut, path));
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return file_error(errno, kFsTarOut, path);
    if (S_ISDIR(info.st_mode)) {
      core::UniqueFd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!root) return file_error(errno, kFsTarOut, path);
      walk_.emplace(std::move(root));
    } else {
      SANDBOX_TRY(core::UniqueFd file, open_regular(kFsTarOut, path, O_RDONLY));
      if (::fstat(file.get(), &info) != 0) return file_error(errno, kFsTarOut, path);
      std::string_view name = path;
      while (name.ends_with('/')) name.remove_suffix(1);
      begin_file(std::move(file), std::string(name.substr(name.rfind('/') + 1)), info);
    }
    return slice();
  }

  Result<void> slice() override {
    std::size_t bytes = 0;
    for (int i = 0; i < kEntriesPerSlice && bytes < kBytesPerSlice; ++i) {
      // Large content follows its header directly; everything else is gathered.
      if (file_ || gathered_.size() >= kGather || complete_) {
        if (!send_gathered(bytes)) return {};
        if (file_) {
          SANDBOX_TRY(const bool more, send_content(bytes));
          if (!more) return {};
          continue;
        }
        if (complete_) {
          finish(result_);
          return {};
        }
      }
      gather();
    }
    again();
    return {};
  }

  void release() noexcept override {
    file_.reset();
    walk_.reset();
  }

 private:
  void skip(const std::string& name) {
    if (result_.skipped.size() < kMaxSkipped) result_.skipped.push_back(name);
  }

  /// Sends what was gathered; false when the client has to take some first.
  bool send_gathered(std::size_t& bytes) {
    while (gathered_sent_ < gathered_.size()) {
      const auto rest = as_bytes(gathered_).subspan(gathered_sent_);
      const auto took = session().send(stream(), session::Channel::out, rest);
      gathered_sent_ += took;
      bytes += took;
      if (took < rest.size()) return false;
    }
    gathered_.clear();
    gathered_sent_ = 0;
    return true;
  }

  /// Sends a piece of file_; false when the client has to take some first.
  Result<bool> send_content(std::size_t& bytes) {
    if (left_) {
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(left_, kBytesPerSlice));
      const auto room = session().reserve(stream(), session::Channel::out, want);
      if (room.empty()) return false;  // on_writable follows
      ssize_t got = 0;
      if (!shrunk_) {
        do got = ::pread(file_.get(), room.data(), room.size(), position_);
        while (got < 0 && errno == EINTR);
      }
      if (got <= 0) {
        // The header promised more than there is now.
        if (!shrunk_) skip(name_);
        shrunk_ = true;
        std::fill(room.begin(), room.end(), std::byte{0});
        got = static_cast<ssize_t>(room.size());
      }
      const auto sent = static_cast<std::size_t>(got);
      session().commit(stream(), session::Channel::out, sent);
      position_ += got;
      left_ -= sent;
      bytes += sent;
      result_.bytes += sent;
    }
    if (!left_) {
      gathered_.append(tarstream::padding(static_cast<std::uint64_t>(position_)), '\0');
      file_.reset();
    }
    return true;
  }

  void begin_file(core::UniqueFd file, std::string name, const struct stat& info) {
    tarstream::Member member = describe(std::move(name), info);
    member.size = static_cast<std::uint64_t>(info.st_size);
    gathered_ += tarstream::encode_header(member);
    ++result_.entries;
    if (member.size > kSmallFile) {
      file_ = std::move(file);
      name_ = std::move(member.name);
      position_ = 0;
      left_ = member.size;
      shrunk_ = false;
      return;
    }
    const std::size_t at = gathered_.size();
    const auto size = static_cast<std::size_t>(member.size);
    gathered_.resize(at + size + tarstream::padding(size), '\0');
    for (std::size_t done = 0; done < size;) {
      const auto got = ::pread(file.get(), gathered_.data() + at + done, size - done, static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        skip(member.name);
        break;
      }
      done += static_cast<std::size_t>(got);
    }
    result_.bytes += size;
  }

  static tarstream::Member describe(std::string name, const struct stat& info) {
    tarstream::Member member;
    member.name = std::move(name);
    member.mode = info.st_mode & 07777;
    member.uid = info.st_uid;
    member.gid = info.st_gid;
    member.modified_ns = nanoseconds(info.st_mtim);
    return member;
  }

  /// Takes one step of the walk.
  void gather() {
    const auto step = walk_ ? walk_->next() : TreeWalk::Step::done;
    if (step == TreeWalk::Step::leave) return;
    if (step == TreeWalk::Step::error) return skip(walk_->path());
    if (step == TreeWalk::Step::done) {
      gathered_.append(tarstream::kTrailer, '\0');
      complete_ = true;
      return;
    }
    struct stat info;
    const auto& path = walk_->path();
    const int parent = walk_->parent();
    const char* name = walk_->name();
    if (::fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) skip(path);
      return;
    }
    if (S_ISDIR(info.st_mode)) {
      auto member = describe(path, info);
      member.kind = tarstream::Kind::directory;
      gathered_ += tarstream::encode_header(member);
      ++result_.entries;
      if (walk_->descend()) skip(path);
    } else if (S_ISLNK(info.st_mode)) {
      auto member = describe(path, info);
      member.kind = tarstream::Kind::symlink;
      member.link = read_link(parent, name);
      if (member.link.empty()) return skip(path);
      gathered_ += tarstream::encode_header(member);
      ++result_.entries;
    } else if (S_ISREG(info.st_mode)) {
      core::UniqueFd file(::openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
      if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return skip(path);
      begin_file(std::move(file), path, info);
    } else {
      skip(path);
    }
  }

  protocol::FsTarRequest request_;
  protocol::FsTarResult result_;
  std::optional<TreeWalk> walk_;    ///< none: a single file
  std::string gathered_;
  std::size_t gathered_sent_ = 0;
  core::UniqueFd file_;             ///< large file whose header was gathered
  std::string name_;
  off_t position_ = 0;
  std::uint64_t left_ = 0;
  bool shrunk_ = false, complete_ = false;
};

}  // namespace

Made make_fs_tar_out(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsTarOut, protocol::FsTarRequest>(context, params, key);
}

}  // namespace sandbox::agent
