#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "agent/fs_methods.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kOperation = "fs.read";

/// Streams a regular file as fast as the client takes it.
class FsRead final : public FileOperation {
 public:
  FsRead(Context context, protocol::FsReadRequest request) : FileOperation(context), request_(std::move(request)) {}

  void on_writable(session::Channel) override {
    if (!ended()) check(slice());
  }

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kOperation, request_.path));
    constexpr auto kMost = std::uint64_t{std::numeric_limits<off_t>::max()};
    if (request_.offset > kMost) return file_error(EINVAL, kOperation, request_.path);
    left_ = std::min(request_.length.value_or(kMost), kMost - request_.offset);
    SANDBOX_TRY(file_, open_regular(kOperation, request_.path, O_RDONLY));
    return slice();
  }

  Result<void> slice() override {
    const auto buffer = scratch();
    if (buffer.empty()) return file_error(ENOMEM, kOperation, request_.path);
    for (std::size_t done = 0; done < kBytesPerSlice;) {
      if (!left_) return succeed();
      // One byte more than fits: an incomplete send() is what on_writable answers. What was not taken is read again
      // from the page cache, so that nothing has to be kept between turns.
      const auto room = session().writable(stream(), session::Channel::out);
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>({buffer.size(), left_, room + 1}));
      ssize_t got;
      do got = ::pread(file_.get(), buffer.data(), want, static_cast<off_t>(request_.offset + sent_));
      while (got < 0 && errno == EINTR);
      if (got < 0) return file_error(errno, kOperation, request_.path);
      if (got == 0) return succeed();
      touched(static_cast<std::size_t>(got));
      const auto took = session().send(stream(), session::Channel::out, buffer.first(static_cast<std::size_t>(got)));
      sent_ += took;
      left_ -= took;
      done += took;
      if (took < static_cast<std::size_t>(got)) return {};
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
  std::uint64_t sent_ = 0, left_ = 0;
};

}  // namespace

Made make_fs_read(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsRead, protocol::FsReadRequest>(context, params, key);
}

}  // namespace sandbox::agent
