#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "agent/fs_support.hpp"
#include "agent/v1/files.hpp"
#include "agent/v1/params.hpp"
#include "agent/v1/state.hpp"
#include "agent/v1/transfers.hpp"
#include "tarstream/writer.hpp"

/// fs.read and fs.download: content before the answer. One at a time, each opened when its turn comes.
namespace sandbox::agent::v1 {
namespace {

/// Reads up to `size` bytes at `offset` into `out`. An errno, or 0; less than `size` means the end of the file.
int read_at(int fd, std::uint64_t offset, std::size_t size, std::string& out) {
  const std::size_t before = out.size();
  out.resize(before + size);
  std::size_t done = 0;
  int failed = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, out.data() + before + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed = errno;
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  out.resize(before + done);
  return failed;
}

/// Base of both: ends once.
class Sending : public Download {
 public:
  Sending(State& state, Caller caller, std::string path) : state_(state), caller_(std::move(caller)), path_(std::move(path)) {}

 protected:
  Connection& connection() { return *state_.connection_of(caller_); }   // which owns this
  void refuse(std::string_view text) {
    state_.refuse(caller_, text);
    connection().download_ended();
  }
  void succeed(std::string result) {
    state_.answer(caller_, std::move(result));
    connection().download_ended();
  }

  State& state_;
  const Caller caller_;
  const std::string path_;
};

class FileDownload final : public Sending {
 public:
  using Sending::Sending;
  void more() override {
    if (!file_ && !open()) return;
    // A little more than the file has, so that its end is seen at once.
    const std::uint64_t left = expected_ > size_ ? expected_ - size_ : 0;
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(left + 4096, kChunk));
    std::string chunk;
    if (const int failed = read_at(file_.get(), size_, want, chunk)) return refuse("read file: " + os_error("read", shown_, failed));
    size_ += chunk.size();
    // Of a file that grows all that it had when it was opened, and the rest of a message.
    const bool last = chunk.size() < want || want < kChunk || (expected_ > 0 && size_ >= expected_);
    if (!chunk.empty() || chunks_ == 0) {
      ++chunks_;
      connection().content(std::move(chunk));
    }
    if (!last) return;
    succeed(json::Object().boolean("chunked", size_ > kChunk).number("chunks", chunks_).number("size", static_cast<std::int64_t>(size_)).take());
  }

 private:
  bool open() {
    auto located = state_.paths().locate(path_);
    if (!located) return refuse(path_error("read file: ", "open", path_, located.error())), false;
    shown_ = located->shown;
    // Looked at before it is opened, because opening alone has effects on devices and FIFOs.
    const core::UniqueFd place = open_beneath(located->root.get(), located->relative, O_PATH);
    struct stat info;
    if (!place || ::fstat(place.get(), &info) != 0) return refuse("read file: " + os_error("open", shown_, errno)), false;
    if (S_ISDIR(info.st_mode)) return refuse("read file: " + os_error("read", shown_, EISDIR)), false;
    if (!S_ISREG(info.st_mode)) return refuse("read file: " + os_error("open", shown_, EINVAL)), false;
    file_ = open_beneath(located->root.get(), located->relative, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!file_) return refuse("read file: " + os_error("open", shown_, errno)), false;
    expected_ = static_cast<std::uint64_t>(info.st_size);
    return true;
  }

  std::string shown_;
  core::UniqueFd file_;
  std::uint64_t size_ = 0, expected_ = 0;
  std::int64_t chunks_ = 0;
};

class TarDownload final : public Sending, public session::StreamHandler {
 public:
  using Sending::Sending;
  ~TarDownload() override {
    if (stream_ == 0 || ended_) return;
    state_.loopback().cancel(stream_);
    state_.loopback().detach(stream_);
  }

  void more() override {
    if (!open_ && !start()) return;
    if (file_) pack_file();
    if (failed_) return refuse(error_);
    if (packed_.size() >= kChunk || (ended_ && !packed_.empty())) {
      std::string chunk = packed_.substr(0, kChunk);
      packed_.erase(0, chunk.size());
      connection().content(std::move(chunk));
      give_back();
      return;
    }
    if (ended_) succeed(json::Object().number("size", static_cast<std::int64_t>(size_)).take());
  }

  void on_data(session::Channel, ByteView data, bool) override {
    add(as_text(data));
    owed_ += data.size();
    if (packed_.size() < kChunk) give_back();
    else connection().download_continues();
  }
  void on_end(const protocol::End& end) override {
    ended_ = true;
    failed_ = end.code != 0;
    if (failed_) error_ = "walk: " + (end.sys_errno ? os_error("open", shown_, end.sys_errno) : end.message);
    connection().download_continues();
  }
  void on_lost(const Error& error) override {
    ended_ = failed_ = true;
    error_ = "walk: " + error.message();
    connection().download_continues();
  }

 private:
  void add(std::string_view bytes) {
    packed_ += bytes;
    size_ += bytes.size();
  }
  void give_back() { state_.loopback().consumed(stream_, session::Channel::out, std::exchange(owed_, 0)); }

  bool start() {
    auto located = state_.paths().locate(path_);
    if (!located) return refuse(path_error("stat: ", "stat", path_, located.error())), false;
    shown_ = located->shown;
    open_ = open_beneath(located->root.get(), located->relative, O_PATH);
    struct stat info;
    if (!open_ || ::fstat(open_.get(), &info) != 0) return refuse("stat: " + os_error("stat", shown_, errno)), false;
    tarstream::Member member;
    member.mode = info.st_mode & 07777;
    member.uid = info.st_uid;
    member.gid = info.st_gid;
    member.modified_ns = nanoseconds(info.st_mtim);
    if (S_ISDIR(info.st_mode)) {
      member.name = "./";
      member.kind = tarstream::Kind::directory;
      add(tarstream::encode_header(member));
      protocol::FsTarRequest request;
      request.path = "/proc/self/fd/" + std::to_string(open_.get());
      stream_ = state_.loopback().open(protocol::Method::fs_tar_out, protocol::encode(request), this);
      return true;
    }
    if (!S_ISREG(info.st_mode)) return refuse("stat: " + os_error("open", shown_, EINVAL)), false;
    file_ = open_beneath(located->root.get(), located->relative, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!file_) return refuse("stat: " + os_error("open", shown_, errno)), false;
    member.name = located->relative.empty() ? "file" : located->name();
    member.size = left_ = static_cast<std::uint64_t>(info.st_size);
    add(tarstream::encode_header(member));
    return true;
  }

  /// Fills packed_ up to one message. A file that shrank is filled up with zeros: its header is on its way.
  void pack_file() {
    while (left_ > 0 && packed_.size() < kChunk) {
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(left_, kChunk));
      const std::size_t before = packed_.size();
      (void)read_at(file_.get(), offset_, want, packed_);
      packed_.resize(before + want, '\0');
      offset_ += want;
      left_ -= want;
      size_ += want;
    }
    if (left_ > 0) return;
    const std::string end(tarstream::padding(offset_) + tarstream::kTrailer, '\0');
    add(end);
    file_.reset();
    ended_ = true;
  }

  std::string shown_;
  core::UniqueFd open_, file_;
  session::StreamId stream_ = 0;
  std::string packed_;
  std::size_t owed_ = 0;          ///< bytes taken from the loopback whose credit was not given back
  std::uint64_t size_ = 0, offset_ = 0, left_ = 0;
  bool ended_ = false, failed_ = false;
  std::string error_;
};

template <class Kind>
void send(State& state, const Request& request) {
  Params params(request.params);
  const auto path = params.text("path");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  Connection* connection = state.connection_of(request.caller);
  if (connection && !connection->enqueue(std::make_unique<Kind>(state, request.caller, path)))
    state.refuse(request.caller, "too many reads at once");
}

}  // namespace

void fs_read(State& state, const Request& request) { send<FileDownload>(state, request); }
void fs_download(State& state, const Request& request) { send<TarDownload>(state, request); }

}  // namespace sandbox::agent::v1
