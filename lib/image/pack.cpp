#include "image/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "core/text.hpp"
#include "core/unique_fd.hpp"
#include "image/unpack.hpp"
#include "os/beneath.hpp"

namespace sandbox::image {
namespace {

using core::UniqueFd;

constexpr std::size_t kBlock = 512;
constexpr off_t kMaxFile = off_t{1} << 40;
constexpr std::uint32_t kIds = 65536;
/// Attributes of one file together; what does not fit is left out. ext4 keeps no more than a block of them.
constexpr std::size_t kMaxAttributes = 64 << 10;

/// One record of a pax header: "<length> <key>=<value>\n", the length counting itself.
void add_record(std::string& out, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t total = rest + 1;
  while (std::to_string(total).size() + rest != total) ++total;
  out += std::to_string(total);
  out += ' ';
  out += key;
  out += '=';
  out += value;
  out += '\n';
}

std::string decimal(timespec time) {
  char text[48];
  // A negative time with a fraction is seconds rounded down plus a positive fraction; pax wants one signed number.
  if (time.tv_sec < 0 && time.tv_nsec > 0) {
    std::snprintf(text, sizeof text, "-%lld.%09ld", static_cast<long long>(-(time.tv_sec + 1)), 1'000'000'000L - time.tv_nsec);
  } else {
    std::snprintf(text, sizeof text, "%lld.%09ld", static_cast<long long>(time.tv_sec), time.tv_nsec);
  }
  return text;
}

struct Header {
  std::string path;
  std::string link;
  char type = '0';
  std::uint32_t mode = 0, uid = 0, gid = 0;
  std::uint64_t size = 0;                     ///< bytes that follow
  std::optional<timespec> modified;
  std::map<std::string, std::string> records; ///< more of them
};

bool is_plain(std::string_view text) {
  return text.size() <= 100 && std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; });
}

void put_octal(char* field, std::size_t width, std::uint64_t value) {
  for (std::size_t i = width - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

std::string block(const Header& header, std::string_view path, std::string_view link, char type, std::uint64_t size) {
  std::string bytes(kBlock, '\0');
  char* out = bytes.data();
  std::memcpy(out, path.data(), std::min<std::size_t>(path.size(), 100));
  put_octal(out + 100, 8, header.mode);
  put_octal(out + 108, 8, header.uid);
  put_octal(out + 116, 8, header.gid);
  put_octal(out + 124, 12, std::min<std::uint64_t>(size, 077777777777));
  const std::int64_t seconds = header.modified ? std::clamp<std::int64_t>(header.modified->tv_sec, 0, 077777777777) : 0;
  put_octal(out + 136, 12, static_cast<std::uint64_t>(seconds));
  std::memset(out + 148, ' ', 8);
  out[156] = type;
  std::memcpy(out + 157, link.data(), std::min<std::size_t>(link.size(), 100));
  std::memcpy(out + 257, "ustar\00000", 8);
  unsigned sum = 0;
  for (const char c : bytes) sum += static_cast<unsigned char>(c);
  put_octal(out + 148, 7, sum);
  return bytes;
}

std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return bytes;
}

/// The blocks of `header`: what ustar cannot say exactly goes into a pax header in front.
std::string encode(const Header& header) {
  std::map<std::string, std::string> records = header.records;
  const bool plain_path = is_plain(header.path), plain_link = is_plain(header.link);
  if (!plain_path && !records.contains("GNU.sparse.name")) records["path"] = header.path;
  if (!plain_link) records["linkpath"] = header.link;
  if (header.size > 077777777777) records["size"] = std::to_string(header.size);
  if (header.modified) records["mtime"] = decimal(*header.modified);
  std::string body;
  // Bytes as they are, not text in some locale; must come before the names it is about.
  if (!plain_path || !plain_link) add_record(body, "hdrcharset", "BINARY");
  for (const auto& [key, value] : records) add_record(body, key, value);
  Header extension;
  extension.mode = 0644;
  std::string out = block(extension, "pax", "", 'x', body.size());
  out += padded(std::move(body));
  out += block(header, plain_path ? header.path : "long", plain_link ? header.link : "long", header.type, header.size);
  return out;
}

/// One directory on several levels, highest first.
struct Level {
  UniqueFd fd;
  std::uint32_t first_id = 0;
};
using Levels = std::vector<Level>;

bool is_whiteout(const struct stat& status) { return S_ISCHR(status.st_mode) && status.st_rdev == makedev(0, 0); }

class Packer {
 public:
  explicit Packer(const Sink& sink) : sink_(sink) {}

  Result<PackSummary> run(const std::vector<PackLevel>& all, const std::string& comment) {
    std::string body;
    add_record(body, "comment", comment);
    Header global;
    global.mode = 0644;
    SANDBOX_CHECK(put(block(global, "pax", "", 'g', body.size()) + padded(body)));
    for (const char* top : {"root", "shm", "tmp", "upper"}) {
      Levels levels;
      for (const PackLevel& level : all) {
        struct stat status {};
        if (::fstatat(level.directory, top, &status, AT_SYMLINK_NOFOLLOW) != 0) {
          if (errno == ENOENT) continue;
          return Error::from_errno(errno, "image.pack", top);
        }
        if (!S_ISDIR(status.st_mode)) continue;
        SANDBOX_TRY(UniqueFd fd, os::beneath::open(level.directory, top, O_RDONLY | O_DIRECTORY));
        levels.push_back({std::move(fd), level.first_id});
      }
      if (!levels.empty()) SANDBOX_CHECK(directory(std::move(levels), top, 1));
    }
    SANDBOX_CHECK(put(std::string(2 * kBlock, '\0')));
    return summary_;
  }

 private:
  Result<void> put(std::string_view bytes) { return sink_(as_bytes(bytes)); }

  static std::uint32_t inside(std::uint32_t host_id, std::uint32_t first_id) {
    return host_id >= first_id && host_id - first_id < kIds ? host_id - first_id : kNobody;
  }
  static Header header_of(const struct stat& status, std::uint32_t first_id, const std::string& path, char type) {
    Header header;
    header.path = path;
    header.type = type;
    header.mode = status.st_mode & 07777;
    header.uid = inside(status.st_uid, first_id);
    header.gid = inside(status.st_gid, first_id);
    header.modified = status.st_mtim;
    return header;
  }

  /// user.* attributes, without overlayfs's own.
  void add_attributes(int fd, Header& header) const {
    std::string names(64 << 10, '\0');
    const ssize_t size = ::flistxattr(fd, names.data(), names.size());
    if (size <= 0) return;
    names.resize(static_cast<std::size_t>(size));
    std::size_t total = 0;
    std::string value(64 << 10, '\0');
    for (std::size_t at = 0; at < names.size();) {
      const std::string name(names.c_str() + at);
      at += name.size() + 1;
      // '=' would end the key of a pax record early.
      if (!name.starts_with("user.") || name.starts_with("user.overlay.") || name.find('=') != std::string::npos) continue;
      const ssize_t got = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
      if (got < 0 || (total += name.size() + static_cast<std::size_t>(got)) > kMaxAttributes) continue;
      header.records["SCHILY.xattr." + name] = value.substr(0, static_cast<std::size_t>(got));
    }
  }

  static bool is_opaque(int fd) {
    char value = 0;
    return (::fgetxattr(fd, "user.overlay.opaque", &value, 1) == 1 && value == 'y') ||
           (::fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y');
  }

  Result<void> marker(const std::string& path) {
    Header header;
    header.path = path;
    ++summary_.entries;
    return put(encode(header));
  }

  Result<void> directory(Levels levels, const std::string& path, std::size_t depth) {
    if (depth > kMaxDepth)
      return Error(ErrorCode::resource_exhausted, "more than " + std::to_string(kMaxDepth) + " directories deep").with_operation("image.pack");
    const int fd = levels.front().fd.get();
    struct stat status {};
    if (::fstat(fd, &status) != 0) return Error::from_errno(errno, "image.pack", core::escape_control(path));
    Header header = header_of(status, levels.front().first_id, path + "/", '5');
    add_attributes(fd, header);
    ++summary_.entries;
    SANDBOX_CHECK(put(encode(header)));
    const bool in_upper = path == "upper" || path.starts_with("upper/");
    bool opaque = false;
    for (std::size_t i = 0; i < levels.size() && !opaque; ++i) {
      opaque = is_opaque(levels[i].fd.get());
      if (opaque) levels.resize(i + 1);
    }
    if (in_upper && opaque) SANDBOX_CHECK(marker(path + "/.wh..wh..opq"));
    std::set<std::string> names;
    for (const Level& level : levels) {
      SANDBOX_TRY(std::vector<std::string> more, os::beneath::list(level.fd.get(), "."));
      names.insert(std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    for (const std::string& name : names) SANDBOX_CHECK(entry(levels, path + "/" + name, name, in_upper, depth));
    return {};
  }

  Result<void> entry(const Levels& levels, const std::string& path, const std::string& name, bool in_upper, std::size_t depth) {
    Levels below;  // the directories of this name, highest first
    for (const Level& level : levels) {
      struct stat status {}, parent {};
      if (::fstatat(level.fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;
        return Error::from_errno(errno, "image.pack", core::escape_control(path));
      }
      if (S_ISDIR(status.st_mode)) {
        if (::fstat(level.fd.get(), &parent) != 0) return Error::from_errno(errno, "image.pack", core::escape_control(path));
        if (status.st_dev != parent.st_dev) {  // a mount: not part of what is writable
          if (below.empty()) return skip();
          break;
        }
        if (in_upper && name.starts_with(".wh.")) return skip();
        SANDBOX_TRY(UniqueFd fd, os::beneath::open(level.fd.get(), name, O_RDONLY | O_DIRECTORY));
        below.push_back({std::move(fd), level.first_id});
        continue;
      }
      if (!below.empty()) break;  // hidden by the directory above
      if (in_upper && name.starts_with(".wh.")) return skip();
      // A whiteout below upper/ still hides something of the image; elsewhere it has hidden all there was.
      if (is_whiteout(status)) return in_upper ? marker(path.substr(0, path.size() - name.size()) + ".wh." + name) : Result<void>();
      switch (status.st_mode & S_IFMT) {
        case S_IFREG: return file(level, path, name);
        case S_IFLNK: return symlink(level, status, path, name);
        default: return skip();
      }
    }
    if (below.empty()) return {};
    return directory(std::move(below), path, depth + 1);
  }

  Result<void> skip() {
    ++summary_.skipped;
    return {};
  }

  Result<void> symlink(const Level& level, const struct stat& status, const std::string& path, const std::string& name) {
    std::string target(4096, '\0');
    const ssize_t size = ::readlinkat(level.fd.get(), name.c_str(), target.data(), target.size());
    if (size < 0) return Error::from_errno(errno, "image.pack", core::escape_control(path));
    target.resize(static_cast<std::size_t>(size));
    Header header = header_of(status, level.first_id, path, '2');
    header.link = std::move(target);
    ++summary_.entries;
    return put(encode(header));
  }

  Result<void> file(const Level& level, const std::string& path, const std::string& name) {
    SANDBOX_TRY(const UniqueFd fd, os::beneath::open(level.fd.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return Error::from_errno(errno, "image.pack", core::escape_control(path));
    if (!S_ISREG(status.st_mode)) return skip();
    ++summary_.entries;
    if (status.st_nlink > 1) {
      const auto [first, is_new] = linked_.try_emplace({status.st_dev, status.st_ino}, path);
      if (!is_new) {
        Header header = header_of(status, level.first_id, path, '1');
        header.link = first->second;
        return put(encode(header));
      }
    }
    if (status.st_size > kMaxFile)
      return Error(ErrorCode::resource_exhausted, core::escape_control(path) + " is longer than 1 TiB").with_operation("image.pack");
    Header header = header_of(status, level.first_id, path, '0');
    add_attributes(fd.get(), header);

    std::vector<std::pair<off_t, off_t>> pieces;  // offset, length
    if (status.st_blocks * off_t{512} < status.st_size) {
      for (off_t at = 0; at < status.st_size;) {
        const off_t data = ::lseek(fd.get(), at, SEEK_DATA);
        if (data < 0) {
          if (errno == ENXIO) break;
          return Error::from_errno(errno, "image.pack", core::escape_control(path));
        }
        const off_t hole = std::min<off_t>(::lseek(fd.get(), data, SEEK_HOLE), status.st_size);
        if (hole <= data) break;
        pieces.emplace_back(data, hole - data);
        at = hole;
      }
    } else if (status.st_size > 0) {
      pieces.emplace_back(0, status.st_size);
    }
    const bool sparse = pieces.empty() ? status.st_size > 0 : pieces.size() > 1 || pieces[0] != std::pair<off_t, off_t>(0, status.st_size);
    std::uint64_t content = 0;
    for (const auto& [offset, length] : pieces) content += static_cast<std::uint64_t>(length);
    summary_.bytes += content;
    std::string map;
    if (sparse) {
      // GNU tar's sparse format 1.0: the map leads the content. A last empty piece says where the file ends.
      if (pieces.empty() || pieces.back().first + pieces.back().second != status.st_size) pieces.emplace_back(status.st_size, 0);
      map = std::to_string(pieces.size()) + "\n";
      for (const auto& [offset, length] : pieces) map += std::to_string(offset) + "\n" + std::to_string(length) + "\n";
      map = padded(std::move(map));
      header.records["GNU.sparse.major"] = "1";
      header.records["GNU.sparse.minor"] = "0";
      header.records["GNU.sparse.name"] = path;
      header.records["GNU.sparse.realsize"] = std::to_string(status.st_size);
    }
    header.size = map.size() + content;
    SANDBOX_CHECK(put(encode(header) + map));
    for (const auto& [offset, length] : pieces) SANDBOX_CHECK(copy(fd.get(), path, offset, length));
    if (const std::size_t over = header.size % kBlock; over != 0) SANDBOX_CHECK(put(std::string(kBlock - over, '\0')));
    return {};
  }

  Result<void> copy(int fd, const std::string& path, off_t offset, off_t length) {
    while (length > 0) {
      const std::size_t want = std::min<std::size_t>(buffer_.size(), static_cast<std::size_t>(length));
      ssize_t got = ::pread(fd, buffer_.data(), want, offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Error::from_errno(errno, "image.pack", core::escape_control(path));
      if (got == 0) {  // shorter than it said: the header is written, so zeros stand in
        std::fill_n(buffer_.begin(), want, std::byte{0});
        got = static_cast<ssize_t>(want);
      }
      SANDBOX_CHECK(sink_(ByteView(buffer_.data(), static_cast<std::size_t>(got))));
      offset += got;
      length -= got;
    }
    return {};
  }

  const Sink& sink_;
  PackSummary summary_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(256 << 10);
};

}  // namespace

Result<PackSummary> pack(const std::vector<PackLevel>& levels, const std::string& comment, const Sink& sink) {
  return Packer(sink).run(levels, comment);
}

}  // namespace sandbox::image
