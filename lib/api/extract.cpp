#include "api/extract.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/beneath.hpp"
#include "protocol/messages.hpp"

namespace sandbox::api {

namespace beneath = os::beneath;

Result<std::string> safe_member_name(std::string_view name) {
  const auto refused = [&](const char* why) {
    return Error(ErrorCode::corrupt, std::string("a name in the tar stream ") + why).with_detail("name", std::string(name.substr(0, 256)));
  };
  if (!name.empty() && name.front() == '/') return refused("is absolute");
  if (name.size() > protocol::kMaxPath) return refused("is longer than 4095 bytes");
  if (name.find('\0') != std::string_view::npos) return refused("contains a NUL byte");
  std::string clean;
  while (!name.empty()) {
    const auto component = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(component.size() + 1, name.size()));
    if (component.empty() || component == ".") continue;
    if (component == "..") return refused("contains \"..\"");
    if (component.size() > 255) return refused("has a component longer than 255 bytes");
    if (!clean.empty()) clean += '/';
    clean += component;
  }
  return clean;
}

bool stays_beneath(std::string_view name, std::string_view target) noexcept {
  if (target.empty() || target.front() == '/' || target.find('\0') != std::string_view::npos) return false;
  auto above = std::count(name.begin(), name.end(), '/');
  // ".." after a name would be resolved through whatever that name is by then, possibly a symlink: not accepted.
  bool descended = false;
  while (!target.empty()) {
    const auto component = target.substr(0, target.find('/'));
    target.remove_prefix(std::min(component.size() + 1, target.size()));
    if (component.empty() || component == ".") continue;
    if (component != "..") {
      descended = true;
    } else if (descended || --above < 0) {
      return false;
    }
  }
  return true;
}

Result<void> Extractor::feed(ByteView bytes) {
  using Event = tarstream::Reader::Event;
  for (;;) {
    SANDBOX_TRY(const Event event, reader_.next(bytes));
    switch (event) {
      case Event::need_more: return {};
      case Event::end: break;
      case Event::member: SANDBOX_CHECK(begin(reader_.member())); break;
      case Event::member_end: SANDBOX_CHECK(end()); break;
      case Event::data:
        if (!file_) break;  // content of something left out
        for (ByteView rest = reader_.data(); !rest.empty();) {
          const auto put = ::write(file_.get(), rest.data(), rest.size());
          if (put < 0 && errno == EINTR) continue;
          if (put < 0) return Error::from_errno(errno, "download.write");
          rest = rest.subspan(static_cast<std::size_t>(put));
          summary_.bytes += static_cast<std::uint64_t>(put);
        }
        break;
    }
  }
}

Result<TransferSummary> Extractor::finish() {
  SANDBOX_CHECK(reader_.finish());
  return std::move(summary_);
}

Result<void> Extractor::begin(const tarstream::Member& member) {
  SANDBOX_TRY(const std::string name, safe_member_name(member.name));
  if (++summary_.entries > kMaxEntries) {
    return Error(ErrorCode::resource_exhausted, "the tar stream has more than " + std::to_string(kMaxEntries) + " entries");
  }
  using tarstream::Kind;
  if (member.kind == Kind::directory) {
    // Owner access stays, or what belongs inside could not be written.
    if (!name.empty()) SANDBOX_CHECK(beneath::make_directories(directory_.get(), name, (member.mode & 0777) | 0700));
    return {};
  }
  if (name.empty()) return Error(ErrorCode::corrupt, "the tar stream names the directory itself as a file");
  switch (member.kind) {
    case Kind::file: {
      SANDBOX_CHECK(clear(name));
      SANDBOX_TRY(file_, beneath::open(directory_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                                       beneath::Symlinks::refuse, member.mode & 0777));
      modified_ns_ = member.modified_ns;
      return {};
    }
    case Kind::symlink: return place_symlink(name, member.link);
    case Kind::hardlink: return place_hardlink(name, member.link);
    default: skip(name); return {};
  }
}

Result<void> Extractor::end() {
  if (!file_) return {};
  timespec times[2];
  times[0].tv_nsec = UTIME_OMIT;
  auto seconds = modified_ns_ / 1'000'000'000, rest = modified_ns_ % 1'000'000'000;
  if (rest < 0) --seconds, rest += 1'000'000'000;
  times[1] = {static_cast<time_t>(seconds), static_cast<long>(rest)};
  ::futimens(file_.get(), times);  // a time this file system cannot store is no reason to fail
  file_.reset();
  return {};
}

Result<void> Extractor::clear(const std::string& name) {
  if (const auto slash = name.rfind('/'); slash != std::string::npos) {
    SANDBOX_CHECK(beneath::make_directories(directory_.get(), std::string_view(name).substr(0, slash), 0755));
  }
  SANDBOX_TRY(const auto parent, beneath::open_parent(directory_.get(), name));
  if (::unlinkat(parent.directory.get(), parent.name.c_str(), 0) != 0 && errno != ENOENT) {
    return Error::from_errno(errno, "download.replace", name);
  }
  return {};
}

Result<void> Extractor::place_symlink(const std::string& name, const std::string& target) {
  if (!stays_beneath(name, target)) return skip(name), Result<void>();
  SANDBOX_CHECK(clear(name));
  SANDBOX_TRY(const auto parent, beneath::open_parent(directory_.get(), name));
  if (::symlinkat(target.c_str(), parent.directory.get(), parent.name.c_str()) != 0) {
    return Error::from_errno(errno, "download.symlink", name);
  }
  return {};
}

Result<void> Extractor::place_hardlink(const std::string& name, const std::string& target) {
  SANDBOX_TRY(const std::string old_name, safe_member_name(target));
  if (old_name.empty() || old_name == name) return Error(ErrorCode::corrupt, "a hard link in the tar stream has no target");
  SANDBOX_TRY(const struct stat status, beneath::status(directory_.get(), old_name));
  if (!S_ISREG(status.st_mode)) return skip(name), Result<void>();
  SANDBOX_CHECK(clear(name));
  SANDBOX_TRY(const auto from, beneath::open_parent(directory_.get(), old_name));
  SANDBOX_TRY(const auto to, beneath::open_parent(directory_.get(), name));
  if (::linkat(from.directory.get(), from.name.c_str(), to.directory.get(), to.name.c_str(), 0) != 0) {
    return Error::from_errno(errno, "download.link", name);
  }
  return {};
}

void Extractor::skip(const std::string& name) {
  --summary_.entries;
  if (summary_.skipped.size() < kMaxSkipped) summary_.skipped.push_back(name);
}

}  // namespace sandbox::api
