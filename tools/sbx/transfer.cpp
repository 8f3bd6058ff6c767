#include "transfer.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "progress.hpp"

namespace sbx {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error interrupted() { return Error(ErrorCode::cancelled, "interrupted"); }

}  // namespace

Result<void> upload(sandbox::Sandbox& box, const Transfer& transfer, bool show_progress, const std::atomic<bool>& stop) {
  // Not blocking: opening a FIFO must not wait for a writer that never comes.
  File file(::open(transfer.host.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) return Error::from_errno(errno, "sbx.upload", transfer.host);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return Error::from_errno(errno, "sbx.upload", transfer.host);
  if (S_ISDIR(info.st_mode)) {
    SANDBOX_CHECK(box.fs().mkdir(transfer.box));
    const Progress progress(show_progress, "upload " + transfer.host, 0);
    SANDBOX_TRY(const auto summary, box.fs().upload(transfer.host, transfer.box));
    for (const auto& name : summary.skipped)
      std::fprintf(stderr, "sbx: upload: left out %s (no file, or a link that leads out)\n", name.c_str());
    return {};
  }
  if (!S_ISREG(info.st_mode)) {
    return Error(ErrorCode::invalid_argument, "--upload " + transfer.host + ": neither a file nor a directory");
  }
  Progress progress(show_progress, "upload " + transfer.host, static_cast<std::uint64_t>(info.st_size));
  sandbox::WriteOptions options;
  options.make_parents = true;
  options.mode = info.st_mode & 0777u;
  const auto source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    if (stop) return interrupted();
    ssize_t got = 0;
    do got = ::read(file.get(), buffer.data(), buffer.size());
    while (got < 0 && errno == EINTR);
    if (got < 0) return Error::from_errno(errno, "sbx.upload", transfer.host);
    progress.advance(static_cast<std::uint64_t>(got));
    return static_cast<std::size_t>(got);
  };
  SANDBOX_TRY(const auto written, box.fs().write_from(transfer.box, source, options));
  (void)written;
  return {};
}

Result<void> download(sandbox::Sandbox& box, const Transfer& transfer, bool show_progress, const std::atomic<bool>& stop) {
  SANDBOX_TRY(const auto info, box.fs().stat(transfer.box));
  const auto parent = std::filesystem::path(transfer.host).parent_path();
  if (!parent.empty()) {
    std::error_code error;
    std::filesystem::create_directories(parent, error);
    if (error) return Error::from_errno(error.value(), "sbx.download", parent.string());
  }
  if (info.type == sandbox::FileType::directory) {
    const Progress progress(show_progress, "download " + transfer.box, 0);
    SANDBOX_TRY(const auto summary, box.fs().download(transfer.box, transfer.host));
    for (const auto& name : summary.skipped)
      std::fprintf(stderr, "sbx: download: left out %s (no file, or a link that leads out)\n", name.c_str());
    return {};
  }
  // Written beside the target and renamed: nobody finds half a file under the name asked for.
  struct stat existing{};
  if (::stat(transfer.host.c_str(), &existing) == 0 && S_ISDIR(existing.st_mode)) {
    return Error(ErrorCode::invalid_argument, "--download …:" + transfer.host + " is a directory; write " + transfer.host + "/");
  }
  std::string temporary = transfer.host + ".sbx-XXXXXX";
  const File file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (file.get() < 0) return Error::from_errno(errno, "sbx.download", transfer.host);
  const auto give_up = [&](Error error) {
    ::unlink(temporary.c_str());
    return error;
  };
  Progress progress(show_progress, "download " + transfer.box, info.size);
  const auto sink = [&](sandbox::ByteView bytes) -> Result<void> {
    if (stop) return interrupted();
    while (!bytes.empty()) {
      const auto put = ::write(file.get(), bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return Error::from_errno(errno, "sbx.download", transfer.host);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
      progress.advance(static_cast<std::uint64_t>(put));
    }
    return {};
  };
  auto size = box.fs().read_to(transfer.box, sink);
  if (!size) return give_up(std::move(size).error());
  const ::mode_t mask = ::umask(0);
  ::umask(mask);
  // The permission bits of a file inside, without set-id: the sandbox does not get to make programs of ours privileged.
  if (::fchmod(file.get(), (info.mode & 0777u & ~mask) | S_IRUSR | S_IWUSR) != 0 ||
      ::rename(temporary.c_str(), transfer.host.c_str()) != 0) {
    return give_up(Error::from_errno(errno, "sbx.download", transfer.host));
  }
  return {};
}

}  // namespace sbx
