#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <sandbox/fs.hpp>

#include "api/arguments.hpp"
#include "api/extract.hpp"
#include "api/files.hpp"
#include "api/flow.hpp"
#include "api/pack.hpp"
#include "api/streaming.hpp"

namespace sandbox {
namespace {

using namespace api;
using core::UniqueFd;

Result<void> check_host_path(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) return bad_argument("host_path", "is empty or contains a NUL byte");
  return {};
}

Result<std::size_t> read_file(int fd, std::span<std::byte> buffer) {
  for (;;) {
    const auto got = ::read(fd, buffer.data(), buffer.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return Error::from_errno(errno, "upload.read");
  }
}

/// A file beside `path` that takes its place when complete and vanishes otherwise.
class NewFile {
 public:
  static Result<NewFile> create(const std::string& path) {
    std::string name = path + ".XXXXXX";
    const int fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) return Error::from_errno(errno, "download.create", path);
    return NewFile(path, std::move(name), UniqueFd(fd));
  }
  NewFile(NewFile&& other) noexcept
      : path_(std::move(other.path_)), name_(std::exchange(other.name_, {})), file_(std::move(other.file_)) {}
  ~NewFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  Result<void> write(ByteView bytes) {
    while (!bytes.empty()) {
      const auto put = ::write(file_.get(), bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return Error::from_errno(errno, "download.write", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return {};
  }
  Result<void> put_in_place(mode_t mode) {
    if (::fchmod(file_.get(), mode) != 0 || ::rename(name_.c_str(), path_.c_str()) != 0) {
      return Error::from_errno(errno, "download.rename", path_);
    }
    name_.clear();
    return {};
  }

 private:
  NewFile(std::string path, std::string name, UniqueFd file)
      : path_(std::move(path)), name_(std::move(name)), file_(std::move(file)) {}
  std::string path_, name_;
  UniqueFd file_;
};

}  // namespace

Result<TransferSummary> Fs::upload_tar(ByteSource tar, std::string path) {
  SANDBOX_CHECK(check_path(path));
  if (!tar) return bad_argument("tar", "is empty");
  SANDBOX_TRY(const std::string reply, send_content(*box_, protocol::Method::fs_tar_in, tar_request(std::move(path)), tar));
  SANDBOX_TRY(auto result, protocol::decode<protocol::FsTarResult>(as_bytes(reply)));
  return to_summary(std::move(result));
}

Result<TransferSummary> Fs::download_tar(std::string path, ByteSink tar) {
  SANDBOX_CHECK(check_path(path));
  if (!tar) return bad_argument("tar", "is empty");
  SANDBOX_TRY(const std::string reply, receive_content(*box_, protocol::Method::fs_tar_out, tar_request(std::move(path)), tar));
  SANDBOX_TRY(auto result, protocol::decode<protocol::FsTarResult>(as_bytes(reply)));
  return to_summary(std::move(result));
}

Result<TransferSummary> Fs::upload(std::string host_path, std::string path) {
  SANDBOX_CHECK(check_host_path(host_path));
  SANDBOX_CHECK(check_path(path));
  // Not blocking: opening a FIFO would wait for a writer.
  UniqueFd source(::open(host_path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat status {};
  if (!source || ::fstat(source.get(), &status) != 0) return Error::from_errno(errno, "upload.open", host_path);
  if (S_ISDIR(status.st_mode)) {
    Packer packer(std::move(source));
    SANDBOX_TRY(auto summary, upload_tar([&](std::span<std::byte> buffer) { return packer.read(buffer); }, std::move(path)));
    for (const auto& name : packer.skipped())
      if (summary.skipped.size() < Extractor::kMaxSkipped) summary.skipped.push_back(name);
    return summary;
  }
  if (!S_ISREG(status.st_mode)) return bad_argument("host_path", "is neither a regular file nor a directory");
  WriteOptions options;
  options.make_parents = true;
  options.mode = status.st_mode & 0777;
  TransferSummary summary;
  summary.entries = 1;
  SANDBOX_TRY(summary.bytes, write_from(
                                 std::move(path), [&](std::span<std::byte> buffer) { return read_file(source.get(), buffer); }, options));
  return summary;
}

Result<TransferSummary> Fs::download(std::string path, std::string host_path) {
  SANDBOX_CHECK(check_path(path));
  SANDBOX_CHECK(check_host_path(host_path));
  SANDBOX_TRY(const FileInfo info, stat(path));
  if (info.type != FileType::directory) {
    SANDBOX_TRY(auto file, NewFile::create(host_path));
    TransferSummary summary;
    summary.entries = 1;
    SANDBOX_TRY(summary.bytes, read_to(std::move(path), [&](ByteView piece) { return file.write(piece); }));
    SANDBOX_CHECK(file.put_in_place(info.mode & 0777));
    return summary;
  }
  if (::mkdir(host_path.c_str(), 0755) != 0 && errno != EEXIST) return Error::from_errno(errno, "download.mkdir", host_path);
  UniqueFd directory(::open(host_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Error::from_errno(errno, "download.open", host_path);
  Extractor extractor(std::move(directory));
  SANDBOX_TRY(const auto sent, download_tar(std::move(path), [&](ByteView piece) { return extractor.feed(piece); }));
  SANDBOX_TRY(auto summary, extractor.finish());
  for (const auto& name : sent.skipped)
    if (summary.skipped.size() < Extractor::kMaxSkipped) summary.skipped.push_back(name);
  return summary;
}

}  // namespace sandbox
