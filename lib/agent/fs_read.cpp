#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "agent/fs_methods.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsRead = "fs.read";

/// Streams a regular file as fast as the client takes it.
class FsRead final : public FileOperation {
 public:
  FsRead(Context context, protocol::FsReadRequest request) : FileOperation(context), request_(std::move(request)) {}

  void on_writable(session::Channel) override {
    if (!ended()) check(slice());
  }

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kFsRead, request_.path));
    constexpr auto kMost = std::uint64_t{std::numeric_limits<off_t>::max()};
    if (request_.offset > kMost) return file_error(EINVAL, kFsRead, request_.path);
    left_ = std::min(request_.length.value_or(kMost), kMost - request_.offset);
    SANDBOX_TRY(file_, open_regular(kFsRead, request_.path, O_RDONLY));
    struct stat info;
    if (::fstat(file_.get(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) > request_.offset)
      expected_ = static_cast<std::uint64_t>(info.st_size) - request_.offset;
    return slice();
  }

  Result<void> slice() override {
    for (std::size_t done = 0; done < kBytesPerSlice;) {
      if (!left_) return succeed();
      // Only a guess (files grow, and those of proc say 0), so that a small file takes a small buffer.
      const auto guess = std::clamp<std::uint64_t>(expected_ > sent_ ? expected_ - sent_ : 0, 4096, kBytesPerSlice);
      const auto want = static_cast<std::size_t>(std::min(left_, guess));
      const auto room = session().reserve(stream(), session::Channel::out, want);
      if (room.empty()) return {};  // on_writable follows
      ssize_t got;
      do got = ::pread(file_.get(), room.data(), room.size(), static_cast<off_t>(request_.offset + sent_));
      while (got < 0 && errno == EINTR);
      const int failed = got < 0 ? errno : 0;
      session().commit(stream(), session::Channel::out, failed ? 0 : static_cast<std::size_t>(got));
      if (failed) return file_error(failed, kFsRead, request_.path);
      if (got == 0) return succeed();
      sent_ += static_cast<std::uint64_t>(got);
      left_ -= static_cast<std::uint64_t>(got);
      done += static_cast<std::size_t>(got);
    }
    again();
    return {};
  }

  void release() noexcept override { file_.reset(); }

 private:
  Result<void> succeed() {
    finish(protocol::FsReadResult{sent_});
    return {};
  }

  protocol::FsReadRequest request_;
  core::UniqueFd file_;
  std::uint64_t sent_ = 0, left_ = 0, expected_ = 0;
};

}  // namespace

Made make_fs_read(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsRead, protocol::FsReadRequest>(context, params, key);
}

}  // namespace sandbox::agent
