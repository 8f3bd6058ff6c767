#include "image/unpack.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "core/text.hpp"
#include "os/beneath.hpp"

namespace sandbox::image {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";

struct FreeArchive {
  void operator()(archive* reader) const noexcept { ::archive_read_free(reader); }
};

/// What libarchive's read callback needs; our own error survives the C frames in it.
struct Feed {
  const Source& source;
  std::vector<std::byte> buffer = std::vector<std::byte>(256 << 10);
  std::optional<Error> error;
};

la_ssize_t read_feed(archive* reader, void* context, const void** out) {
  auto& feed = *static_cast<Feed*>(context);
  auto got = feed.source(feed.buffer);
  if (!got) {
    ::archive_set_error(reader, EIO, "source failed");
    feed.error = std::move(got).error();
    feed.error->ignore("returned once libarchive has unwound");
    return -1;
  }
  *out = feed.buffer.data();
  return static_cast<la_ssize_t>(*got);
}

/// A directory whose mode and times are set when nothing will be put into it any more.
struct PendingDirectory {
  std::string path;
  mode_t mode;
  timespec modified;
};

class Unpacker {
 public:
  Unpacker(int root, const UnpackOptions& options) : root_(root), options_(options), is_root_(::geteuid() == 0) {}

  Result<UnpackSummary> run(const Source& source) {
    Feed feed{source};
    std::unique_ptr<archive, FreeArchive> reader(::archive_read_new());
    if (!reader) return Error(ErrorCode::resource_exhausted, "no memory for the archive reader");
    ::archive_read_support_format_tar(reader.get());
    ::archive_read_support_filter_gzip(reader.get());
    ::archive_read_support_filter_zstd(reader.get());
    if (::archive_read_open(reader.get(), &feed, nullptr, read_feed, nullptr) != ARCHIVE_OK)
      return failed(reader.get(), feed, unreadable(reader.get()));
    for (;;) {
      archive_entry* entry = nullptr;
      const int got = ::archive_read_next_header(reader.get(), &entry);
      if (got == ARCHIVE_EOF) break;
      if (got < ARCHIVE_WARN) return failed(reader.get(), feed, unreadable(reader.get()));
      if (++summary_.entries > options_.limits.max_entries)
        return exhausted("more than " + std::to_string(options_.limits.max_entries) + " entries");
      auto done = entry_of(reader.get(), entry, feed);
      if (!done) return std::move(done).error().with_context(options_.name);
      report();
    }
    if (feed.error) return *std::move(feed.error);
    if (summary_.entries == 0) return Error(ErrorCode::invalid_argument, options_.name + ": not a tar archive, or an empty one");
    for (auto it = pending_.rbegin(); it != pending_.rend(); ++it) {
      auto directory = os::beneath::open(root_, it->path, O_RDONLY | O_DIRECTORY);
      if (!directory) {
        directory.ignore("a later entry replaced it");
        continue;
      }
      const timespec times[2] = {it->modified, it->modified};
      if (::fchmod(directory->get(), it->mode) != 0 || ::futimens(directory->get(), times) != 0)
        return Error::from_errno(errno, "image.unpack", it->path);
    }
    return summary_;
  }

 private:
  Error failed(archive* reader, Feed& feed, ErrorCode code) const {
    if (feed.error) return *std::move(feed.error);
    const char* text = ::archive_error_string(reader);
    return Error(code, options_.name + ": " + (text != nullptr ? core::escape_control(text) : "not a tar archive"))
        .with_operation("image.unpack");
  }
  /// The first header decides whether it is a tar at all; later, or inside a compressed stream, it can only be damaged.
  ErrorCode unreadable(archive* reader) const {
    const bool is_other = summary_.entries == 0 && ::archive_filter_code(reader, 0) == ARCHIVE_FILTER_NONE;
    return is_other ? ErrorCode::invalid_argument : ErrorCode::corrupt;
  }
  Error exhausted(const std::string& what) const {
    return Error(ErrorCode::resource_exhausted, options_.name + ": unpacks to " + what).with_operation("image.unpack");
  }
  static Error refused(const std::string& path, const char* why) {
    return Error(ErrorCode::invalid_argument, "entry \"" + core::escape_control(path) + "\" " + why).with_operation("image.unpack");
  }

  /// `raw` without leading and doubled slashes and "." components.
  static Result<std::string> clean(const char* raw) {
    if (raw == nullptr) return refused("?", "has no readable name");
    std::string path;
    std::size_t depth = 0;
    std::string_view rest(raw);
    while (!rest.empty()) {
      const std::size_t slash = std::min(rest.find('/'), rest.size());
      const std::string_view part = rest.substr(0, slash);
      rest.remove_prefix(std::min(slash + 1, rest.size()));
      if (part.empty() || part == ".") continue;
      if (part == "..") return refused(raw, "leads upwards");
      if (part.size() > 255) return refused(raw, "has a name longer than 255 bytes");
      if (++depth > kMaxDepth) return refused(raw, "is nested too deeply");
      if (!path.empty()) path += '/';
      path += part;
    }
    if (path.size() > 4095) return refused(raw, "has a path longer than 4095 bytes");
    return path;
  }

  /// The directory `path` is in; missing parents are made as tar(1) does, 0755 and root's.
  Result<core::UniqueFd> parent_of(const std::string& path, std::string& name) {
    const std::size_t slash = path.rfind('/');
    name = slash == std::string::npos ? path : path.substr(slash + 1);
    const std::string parent = slash == std::string::npos ? std::string() : path.substr(0, slash);
    auto found = os::beneath::open(root_, parent, O_PATH | O_DIRECTORY);
    if (found || found.error().code() != ErrorCode::not_found) {
      if (!found) return std::move(found).error().with_context("entry \"" + core::escape_control(path) + "\"");
      return found;
    }
    found.ignore("made now");
    std::string grandparent_name;
    SANDBOX_TRY(const core::UniqueFd grandparent, parent_of(parent, grandparent_name));
    if (++summary_.entries > options_.limits.max_entries)
      return exhausted("more than " + std::to_string(options_.limits.max_entries) + " entries");
    if (::mkdirat(grandparent.get(), grandparent_name.c_str(), 0755) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(parent));
    return os::beneath::open(root_, parent, O_PATH | O_DIRECTORY);
  }

  Result<void> entry_of(archive* reader, archive_entry* entry, Feed& feed) {
    // The multi-byte form fails for names that are no text in this process's locale; the other one is UTF-8 as stored.
    const char* raw = ::archive_entry_pathname(entry);
    if (raw == nullptr) raw = ::archive_entry_pathname_utf8(entry);
    SANDBOX_TRY(const std::string path, clean(raw));
    const char* hardlink = ::archive_entry_hardlink(entry);
    if (hardlink == nullptr) hardlink = ::archive_entry_hardlink_utf8(entry);
    const mode_t type = ::archive_entry_filetype(entry);
    const mode_t mode = ::archive_entry_perm(entry) & 01777;
    if (path.empty()) {
      if (hardlink == nullptr && type == AE_IFDIR) finish_directory(path, mode, entry);
      return {};
    }
    std::string name;
    SANDBOX_TRY(const core::UniqueFd parent, parent_of(path, name));
    if (name.starts_with(kWhiteout) && (!options_.overlay_whiteouts || path.starts_with("upper/")))
      return whiteout(parent.get(), path, name);
    if (hardlink != nullptr) return link(parent.get(), path, name, hardlink);
    switch (type) {
      case AE_IFDIR: return make_directory(parent.get(), path, name, mode, entry);
      case AE_IFREG: return file(reader, feed, parent.get(), path, name, mode, entry);
      case AE_IFLNK: return symlink(parent.get(), path, name, entry);
      default: ++summary_.skipped; return {};
    }
  }

  /// Makes room for a new entry: an earlier file of this name goes, a directory stays and is an error.
  Result<void> make_room(int parent, const std::string& path, const std::string& name) {
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno == EISDIR || errno == EPERM) return refused(path, "would replace a directory");
    return Error::from_errno(errno, "image.unpack", core::escape_control(path));
  }

  Result<void> whiteout(int parent, const std::string& path, const std::string& name) {
    if (name == kOpaque) {
      if (!options_.overlay_whiteouts) return {};
      SANDBOX_TRY(const core::UniqueFd directory, os::beneath::open(parent, ".", O_RDONLY | O_DIRECTORY));
      // Both spellings: overlayfs reads the second where it is mounted inside a user namespace.
      const bool trusted = ::fsetxattr(directory.get(), "trusted.overlay.opaque", "y", 1, 0) == 0;
      const bool user = ::fsetxattr(directory.get(), "user.overlay.opaque", "y", 1, 0) == 0;
      if (!trusted && !user) return Error::from_errno(errno, "image.unpack", core::escape_control(path));
      return {};
    }
    const std::string hidden = name.substr(kWhiteout.size());
    if (hidden.empty() || hidden == "." || hidden == "..") return refused(path, "is no whiteout");
    if (!options_.overlay_whiteouts) return os::beneath::remove_tree(parent, hidden);
    SANDBOX_CHECK(make_room(parent, path, hidden));
    // Allowed without privileges since Linux 5.8: overlayfs's whiteout is the device 0:0.
    if (::mknodat(parent, hidden.c_str(), S_IFCHR, makedev(0, 0)) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    return {};
  }

  Result<void> link(int parent, const std::string& path, const std::string& name, const char* target) {
    SANDBOX_TRY(const std::string from, clean(target));
    const std::size_t slash = from.rfind('/');
    auto directory = os::beneath::open(root_, slash == std::string::npos ? std::string_view() : std::string_view(from).substr(0, slash), O_PATH | O_DIRECTORY);
    if (!directory) return std::move(directory).error().with_context("hard link \"" + core::escape_control(path) + "\"");
    const std::string from_name = slash == std::string::npos ? from : from.substr(slash + 1);
    struct stat status {};
    if (::fstatat(directory->get(), from_name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(from));
    if (S_ISDIR(status.st_mode)) return refused(path, "is a hard link to a directory");
    if (from == path) return {};
    SANDBOX_CHECK(make_room(parent, path, name));
    if (::linkat(directory->get(), from_name.c_str(), parent, name.c_str(), 0) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    return {};
  }

  std::uint32_t id(std::int64_t stored) const { return stored < 0 || stored > 65535 ? kNobody : static_cast<std::uint32_t>(stored); }
  static timespec modified(archive_entry* entry) {
    return {::archive_entry_mtime_is_set(entry) ? ::archive_entry_mtime(entry) : 0, ::archive_entry_mtime_nsec(entry)};
  }

  Result<void> own(int fd, const std::string& path, archive_entry* entry) {
    if (is_root_ && ::fchown(fd, id(::archive_entry_uid(entry)), id(::archive_entry_gid(entry))) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    return attributes(fd, path, entry);
  }

  Result<void> attributes(int fd, const std::string& path, archive_entry* entry) {
    ::archive_entry_xattr_reset(entry);
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    while (::archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
      const std::string_view key(name != nullptr ? name : "");
      // Others would mean something to this host: capabilities, overlay markers, ACLs.
      if (!key.starts_with("user.") || key.starts_with("user.overlay.")) continue;
      if (::fsetxattr(fd, name, value, size, 0) != 0 && errno != EOPNOTSUPP)
        return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    }
    return {};
  }

  void finish_directory(const std::string& path, mode_t mode, archive_entry* entry) {
    pending_.push_back({path, mode, modified(entry)});
  }

  Result<void> make_directory(int parent, const std::string& path, const std::string& name, mode_t mode, archive_entry* entry) {
    if (::mkdirat(parent, name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return Error::from_errno(errno, "image.unpack", core::escape_control(path));
      struct stat status {};
      if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(status.st_mode)) {
        SANDBOX_CHECK(make_room(parent, path, name));
        if (::mkdirat(parent, name.c_str(), 0700) != 0) return Error::from_errno(errno, "image.unpack", core::escape_control(path));
      }
    }
    SANDBOX_TRY(const core::UniqueFd made, os::beneath::open(parent, name, O_RDONLY | O_DIRECTORY));
    SANDBOX_CHECK(own(made.get(), path, entry));
    finish_directory(path, mode, entry);
    return {};
  }

  Result<void> symlink(int parent, const std::string& path, const std::string& name, archive_entry* entry) {
    const char* target = ::archive_entry_symlink(entry);
    if (target == nullptr) target = ::archive_entry_symlink_utf8(entry);
    if (target == nullptr || *target == '\0') return refused(path, "is a symlink to nothing");
    SANDBOX_CHECK(make_room(parent, path, name));
    // The target is only text here: whoever follows it does so inside the sandbox.
    if (::symlinkat(target, parent, name.c_str()) != 0) return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    const timespec times[2] = {modified(entry), modified(entry)};
    if (is_root_ && ::fchownat(parent, name.c_str(), id(::archive_entry_uid(entry)), id(::archive_entry_gid(entry)), AT_SYMLINK_NOFOLLOW) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    return {};
  }

  Result<void> file(archive* reader, Feed& feed, int parent, const std::string& path, const std::string& name, mode_t mode,
                    archive_entry* entry) {
    SANDBOX_CHECK(make_room(parent, path, name));
    SANDBOX_TRY(const core::UniqueFd out, os::beneath::open(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                                                            os::beneath::Symlinks::refuse, 0600));
    for (;;) {
      const void* data = nullptr;
      std::size_t size = 0;
      la_int64_t offset = 0;
      const int got = ::archive_read_data_block(reader, &data, &size, &offset);
      if (got == ARCHIVE_EOF) break;
      if (got < ARCHIVE_WARN) return failed(reader, feed, ErrorCode::corrupt);
      summary_.bytes += size;
      SANDBOX_CHECK(within_limits(reader));
      while (size > 0) {
        const ssize_t wrote = ::pwrite(out.get(), data, size, offset);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return Error::from_errno(errno, "image.unpack", core::escape_control(path));
        data = static_cast<const char*>(data) + wrote;
        size -= static_cast<std::size_t>(wrote);
        offset += wrote;
      }
      report();
    }
    if (::archive_entry_size_is_set(entry) && ::ftruncate(out.get(), ::archive_entry_size(entry)) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    SANDBOX_CHECK(own(out.get(), path, entry));
    const timespec times[2] = {modified(entry), modified(entry)};
    if (::fchmod(out.get(), mode) != 0 || ::futimens(out.get(), times) != 0)
      return Error::from_errno(errno, "image.unpack", core::escape_control(path));
    return {};
  }

  Result<void> within_limits(archive* reader) {
    const UnpackLimits& limits = options_.limits;
    if (summary_.bytes > limits.max_bytes) return exhausted("more than " + std::to_string(limits.max_bytes) + " bytes");
    if (summary_.bytes > limits.ratio_from) {
      const auto packed = static_cast<std::uint64_t>(std::max<la_int64_t>(::archive_filter_bytes(reader, -1), 1));
      if (summary_.bytes / packed > limits.max_ratio)
        return exhausted("more than " + std::to_string(limits.max_ratio) + " times its size");
    }
    return {};
  }

  void report() {
    if (!options_.on_progress || (summary_.entries & 63) != 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - reported_ < std::chrono::seconds(1)) return;
    reported_ = now;
    options_.on_progress("unpacking " + options_.name + ": " + std::to_string(summary_.entries) + " entries, " +
                         std::to_string(summary_.bytes >> 20) + " MiB");
  }

  const int root_;
  const UnpackOptions& options_;
  const bool is_root_;
  UnpackSummary summary_;
  std::vector<PendingDirectory> pending_;
  std::chrono::steady_clock::time_point reported_ = std::chrono::steady_clock::now();
};

}  // namespace

Result<UnpackSummary> unpack(const Source& source, int directory, const UnpackOptions& options) {
  return Unpacker(directory, options).run(source);
}

}  // namespace sandbox::image
