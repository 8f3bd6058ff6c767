#include "api/files.hpp"

#include <algorithm>
#include <limits>

#include "api/arguments.hpp"
#include "api/bulk_memory.hpp"
#include "api/flow.hpp"
#include "api/watching.hpp"

namespace sandbox::api {

using protocol::Method;
using session::Channel;

// ---- ReadFile -----------------------------------------------------------------------------------------------------------

Result<ReadFile> ReadFile::make_read(const std::string& path, std::uint64_t offset, std::optional<std::uint64_t> length, std::uint64_t max) {
  SANDBOX_CHECK(check_path(path));
  protocol::FsReadRequest request;
  request.path = path;
  request.offset = offset;
  request.length = length;
  ReadFile read(Method::fs_read, protocol::encode(request));
  read.max_ = max;
  return read;
}

void ReadFile::on_data(Channel channel, ByteView data, bool) {
  if (!error()) {
    if (data.size() > max_ - content_.size()) {
      fail(Error(ErrorCode::resource_exhausted, "the file is larger than " + std::to_string(max_) + " bytes; use read_to"));
      cancel();
    } else {
      // Room for a byte more than there is: the C interface puts a NUL behind, and would copy it all for that.
      const std::size_t size = content_.size() + data.size() + 1;
      if (size > content_.capacity()) {
        Bytes larger;
        larger.reserve(std::max(size, 2 * content_.capacity()));
        expect_bulk(larger.data(), larger.capacity());
        larger.insert(larger.end(), content_.begin(), content_.end());
        content_.swap(larger);
      }
      content_.insert(content_.end(), data.begin(), data.end());
    }
  }
  session().consumed(stream(), channel, data.size());
}

Result<Bytes> ReadFile::make() { return std::move(content_); }

// ---- WriteFile ----------------------------------------------------------------------------------------------------------

Result<std::string> write_request(const std::string& path, const WriteOptions& options) {
  SANDBOX_CHECK(check_path(path));
  if (options.mode > 07777) return bad_argument("mode", "has more than permission bits");
  if (options.append && options.exclusive) return bad_argument("exclusive", "cannot be combined with append");
  protocol::FsWriteRequest request;
  request.path = path;
  request.append = options.append;
  request.exclusive = options.exclusive;
  request.make_parents = options.make_parents;
  request.mode = options.mode;
  return protocol::encode(request);
}

Result<WriteFile> WriteFile::make_write(const std::string& path, ByteView content, const WriteOptions& options) {
  SANDBOX_TRY(std::string request, write_request(path, options));
  WriteFile write(Method::fs_write, std::move(request));
  write.rest_ = content;
  return write;
}

Result<WriteFile> WriteFile::make_write_owned(const std::string& path, Bytes content, const WriteOptions& options) {
  auto owned = std::make_unique<Bytes>(std::move(content));
  SANDBOX_TRY(WriteFile write, make_write(path, *owned, options));
  write.owned_ = std::move(owned);
  return write;
}

void WriteFile::pump() {
  if (complete_) return;
  rest_ = rest_.subspan(session().send(stream(), Channel::in, rest_, true));
  complete_ = rest_.empty();
}

// ---- ListEntries --------------------------------------------------------------------------------------------------------

Result<ListEntries> ListEntries::make_list(const std::string& path) {
  SANDBOX_CHECK(check_path(path));
  protocol::FsPathRequest request;
  request.path = path;
  return ListEntries(Method::fs_list, protocol::encode(request));
}

Result<ListEntries> ListEntries::make_find(const std::string& root, const std::string& pattern, const FindOptions& options) {
  SANDBOX_CHECK(check_path(root, "root"));
  if (pattern.size() > protocol::kMaxPath) return bad_argument("pattern", "longer than 4095 bytes");
  if (pattern.find('\0') != std::string::npos) return bad_argument("pattern", "contains a NUL byte");
  protocol::FsFindRequest request;
  request.root = root;
  request.pattern = pattern;
  if (options.type) request.type = static_cast<protocol::FileType>(*options.type);
  request.max_depth = options.max_depth;
  request.max_results = options.max_results;
  return ListEntries(Method::fs_find, protocol::encode(request));
}

void ListEntries::on_message(ByteView message) {
  if (error()) return;
  auto batch = protocol::decode<protocol::FsEntries>(message);
  if (!batch) return fail(std::move(batch).error());
  if (batch->entries.size() > kMaxEntries - entries_.size()) {
    fail(Error(ErrorCode::resource_exhausted, "more than " + std::to_string(kMaxEntries) + " entries"));
    return cancel();
  }
  for (auto& entry : batch->entries) {
    auto info = to_info(std::move(entry));
    if (!info) return fail(std::move(info).error());
    entries_.push_back(*std::move(info));
  }
}

Result<std::vector<FileInfo>> ListEntries::make() {
  std::sort(entries_.begin(), entries_.end(), [](const FileInfo& a, const FileInfo& b) { return a.path < b.path; });
  return std::move(entries_);
}

// ---- small ones ---------------------------------------------------------------------------------------------------------

Result<FileInfo> to_info(protocol::FsEntry&& entry) {
  FileInfo info;
  info.path = std::move(entry.path);
  const bool known = entry.type <= protocol::FileType::block;
  info.type = known ? static_cast<FileType>(entry.type) : FileType::unknown;
  info.size = entry.size;
  info.mode = entry.mode;
  info.uid = entry.uid;
  info.gid = entry.gid;
  info.modified = std::chrono::nanoseconds(entry.modified_ns);
  info.target = std::move(entry.target);
  return info;
}

Result<StatFile> make_stat(const std::string& path, bool follow) {
  SANDBOX_CHECK(check_path(path));
  protocol::FsPathRequest request;
  request.path = path;
  request.follow = follow;
  return StatFile(Method::fs_stat, protocol::encode(request));
}

Result<Tell> make_remove(const std::string& path, bool recursive) {
  SANDBOX_CHECK(check_path(path));
  protocol::FsRemoveRequest request;
  request.path = path;
  request.recursive = recursive;
  request.missing_ok = recursive;
  return Tell(Method::fs_remove, protocol::encode(request));
}

Result<std::uint64_t> to_size(protocol::FsWriteResult&& result) { return result.size; }

Result<Tell> make_mkdir(const std::string& path) {
  SANDBOX_CHECK(check_path(path));
  protocol::FsMkdirRequest request;
  request.path = path;
  request.parents = true;
  return Tell(Method::fs_mkdir, protocol::encode(request));
}

Result<Tell> make_rename(const std::string& from, const std::string& to) {
  SANDBOX_CHECK(check_path(from, "from"));
  SANDBOX_CHECK(check_path(to, "to"));
  protocol::FsPairRequest request;
  request.from = from;
  request.to = to;
  return Tell(Method::fs_rename, protocol::encode(request));
}

Result<CopyFiles> make_copy(const std::string& from, const std::string& to) {
  SANDBOX_CHECK(check_path(from, "from"));
  SANDBOX_CHECK(check_path(to, "to"));
  protocol::FsPairRequest request;
  request.from = from;
  request.to = to;
  request.recursive = true;
  return CopyFiles(Method::fs_copy, protocol::encode(request));
}

Result<Tell> make_symlink(const std::string& target, const std::string& path) {
  SANDBOX_CHECK(check_path(path));
  if (target.empty() || target.size() > protocol::kMaxPath || target.find('\0') != std::string::npos) {
    return bad_argument("target", "must have 1 to 4095 bytes without NUL");
  }
  protocol::FsPairRequest request;
  request.from = target;
  request.to = path;
  return Tell(Method::fs_symlink, protocol::encode(request));
}

Result<Tell> make_chmod(const std::string& path, std::uint32_t mode) {
  SANDBOX_CHECK(check_path(path));
  if (mode > 07777) return bad_argument("mode", "has more than permission bits");
  protocol::FsChmodRequest request;
  request.path = path;
  request.mode = mode;
  return Tell(Method::fs_chmod, protocol::encode(request));
}

namespace {

template <class Op>
auto perform_checked(driver::Box& box, Result<Op> operation) -> decltype(operation->result()) {
  if (!operation) return std::move(operation).error();
  return perform(box, *operation);
}

}  // namespace
}  // namespace sandbox::api

namespace sandbox {

using namespace api;

Result<Bytes> Fs::read(std::string path, ByteCount max) {
  return perform_checked(*box_, ReadFile::make_read(path, 0, std::nullopt, max.bytes()));
}

Result<std::string> Fs::read_text(std::string path, ByteCount max) {
  SANDBOX_TRY(const Bytes bytes, read(std::move(path), max));
  return std::string(as_text(bytes));
}

Result<Bytes> Fs::read_range(std::string path, std::uint64_t offset, std::uint64_t length) {
  return perform_checked(*box_, ReadFile::make_read(path, offset, length, length));
}

Result<std::uint64_t> Fs::read_to(std::string path, ByteSink sink) {
  SANDBOX_CHECK(check_path(path));
  if (!sink) return bad_argument("sink", "is empty");
  protocol::FsReadRequest request;
  request.path = std::move(path);
  std::uint64_t total = 0;
  SANDBOX_TRY(const std::string reply, receive_content(*box_, protocol::Method::fs_read, protocol::encode(request), [&](ByteView piece) {
    total += piece.size();
    return sink(piece);
  }));
  SANDBOX_TRY(const auto result, protocol::decode<protocol::FsReadResult>(as_bytes(reply)));
  if (result.size != total) return Error(ErrorCode::protocol, "the agent sent " + std::to_string(total) + " bytes of " + std::to_string(result.size));
  return total;
}

Result<void> Fs::write(std::string path, std::string_view content, WriteOptions options) {
  return write(std::move(path), as_bytes(content), options);
}

Result<void> Fs::write(std::string path, ByteView content, WriteOptions options) {
  return perform_checked(*box_, WriteFile::make_write(path, content, options));
}

Result<std::uint64_t> Fs::write_from(std::string path, ByteSource source, WriteOptions options) {
  if (!source) return bad_argument("source", "is empty");
  SANDBOX_TRY(std::string request, write_request(path, options));
  SANDBOX_TRY(const std::string reply, send_content(*box_, protocol::Method::fs_write, std::move(request), source));
  SANDBOX_TRY(const auto result, protocol::decode<protocol::FsWriteResult>(as_bytes(reply)));
  return result.size;
}

Result<void> Fs::append(std::string path, std::string_view content) {
  WriteOptions options;
  options.append = true;
  return write(std::move(path), as_bytes(content), options);
}

Result<std::vector<FileInfo>> Fs::list(std::string path) { return perform_checked(*box_, ListEntries::make_list(path)); }
Result<FileInfo> Fs::stat(std::string path) { return perform_checked(*box_, make_stat(path, true)); }
Result<FileInfo> Fs::lstat(std::string path) { return perform_checked(*box_, make_stat(path, false)); }

Result<bool> Fs::exists(std::string path) {
  auto info = stat(std::move(path));
  if (info) return true;
  if (info.error().code() == ErrorCode::not_found) return false;
  return std::move(info).error();
}

Result<void> Fs::mkdir(std::string path) { return perform_checked(*box_, make_mkdir(path)); }
Result<void> Fs::remove(std::string path) { return perform_checked(*box_, make_remove(path, false)); }
Result<void> Fs::remove_all(std::string path) { return perform_checked(*box_, make_remove(path, true)); }
Result<void> Fs::rename(std::string from, std::string to) { return perform_checked(*box_, make_rename(from, to)); }
Result<std::uint64_t> Fs::copy(std::string from, std::string to) { return perform_checked(*box_, make_copy(from, to)); }
Result<void> Fs::symlink(std::string target, std::string path) { return perform_checked(*box_, make_symlink(target, path)); }
Result<void> Fs::chmod(std::string path, std::uint32_t mode) { return perform_checked(*box_, make_chmod(path, mode)); }

Result<std::vector<FileInfo>> Fs::find(std::string root, std::string pattern, FindOptions options) {
  return perform_checked(*box_, ListEntries::make_find(root, pattern, options));
}

Result<Watch> Fs::watch(std::string path, bool recursive) { return Watch::State::open_watch(box_, std::move(path), recursive); }

}  // namespace sandbox
