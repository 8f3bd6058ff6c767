#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sandbox/fs.hpp>

#include "api/operation.hpp"

/// The file operations, one class or alias per shape of answer.
namespace sandbox::api {

/// A file's content, collected; at most `max` bytes even if the agent sends more.
class ReadFile : public Operation<Bytes> {
 public:
  static Result<ReadFile> make_read(const std::string& path, std::uint64_t offset, std::optional<std::uint64_t> length, std::uint64_t max);
  bool brief() const noexcept override { return true; }
  void on_data(session::Channel channel, ByteView data, bool fin) override;

 protected:
  Result<Bytes> make() override;

 private:
  using Operation::Operation;
  std::uint64_t max_ = 0;
  Bytes content_;
};

/// Content given in advance, written to a file. `content` outlives the operation unless it is `owned`.
class WriteFile : public Operation<void> {
 public:
  static Result<WriteFile> make_write(const std::string& path, ByteView content, const WriteOptions& options);
  static Result<WriteFile> make_write_owned(const std::string& path, Bytes content, const WriteOptions& options);
  void on_writable(session::Channel) override { pump(); }

 protected:
  void opened() override { pump(); }
  Result<void> make() override { return {}; }

 private:
  using Operation::Operation;
  void pump();

  ByteView rest_;
  std::unique_ptr<Bytes> owned_;  // by pointer: the operation moves, the view stays
  bool complete_ = false;
};

/// Entries in batches: list and find. More than kMaxEntries end it with resource_exhausted.
class ListEntries : public Operation<std::vector<FileInfo>> {
 public:
  static constexpr std::size_t kMaxEntries = 1 << 22;
  static Result<ListEntries> make_list(const std::string& path);
  static Result<ListEntries> make_find(const std::string& root, const std::string& pattern, const FindOptions& options);
  bool brief() const noexcept override { return true; }
  void on_message(ByteView message) override;

 protected:
  Result<std::vector<FileInfo>> make() override;

 private:
  using Operation::Operation;
  std::vector<FileInfo> entries_;
};

Result<FileInfo> to_info(protocol::FsEntry&& entry);
using StatFile = Ask<protocol::FsEntry, &to_info>;
Result<StatFile> make_stat(const std::string& path, bool follow);
Result<std::uint64_t> to_size(protocol::FsWriteResult&& result);
using CopyFiles = Ask<protocol::FsWriteResult, &to_size>;
Result<Tell> make_remove(const std::string& path, bool recursive);
Result<Tell> make_mkdir(const std::string& path);
Result<Tell> make_rename(const std::string& from, const std::string& to);
Result<CopyFiles> make_copy(const std::string& from, const std::string& to);
Result<Tell> make_symlink(const std::string& target, const std::string& path);
Result<Tell> make_chmod(const std::string& path, std::uint32_t mode);
Result<std::string> write_request(const std::string& path, const WriteOptions& options);

}  // namespace sandbox::api
