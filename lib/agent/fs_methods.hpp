#pragma once

#include "agent/fs_support.hpp"

/// The factories behind file_operation(), one per source file.
namespace sandbox::agent {

using Made = Result<std::unique_ptr<Operation>>;

Made make_fs_read(Context, ByteView params, std::string_view key);
Made make_fs_write(Context, ByteView params, std::string_view key);
Made make_fs_list(Context, ByteView params, std::string_view key);
Made make_fs_stat(Context, ByteView params, std::string_view key);
Made make_fs_remove(Context, ByteView params, std::string_view key);
Made make_fs_rename(Context, ByteView params, std::string_view key);
Made make_fs_mkdir(Context, ByteView params, std::string_view key);
Made make_fs_copy(Context, ByteView params, std::string_view key);
Made make_fs_tar_in(Context, ByteView params, std::string_view key);
Made make_fs_tar_out(Context, ByteView params, std::string_view key);
Made make_fs_find(Context, ByteView params, std::string_view key);
Made make_fs_watch(Context, ByteView params, std::string_view key);
Made make_fs_symlink(Context, ByteView params, std::string_view key);
Made make_fs_chmod(Context, ByteView params, std::string_view key);

/// Collects entries into messages of at most 256 entries and about 64 KiB.
class EntryBatch {
 public:
  void add(protocol::FsEntry entry) {
    bytes_ += entry.path.size() + entry.target.size() + 48;
    batch_.entries.push_back(std::move(entry));
  }
  bool full() const noexcept { return batch_.entries.size() >= 256 || bytes_ >= (56 << 10); }
  bool empty() const noexcept { return batch_.entries.empty(); }
  protocol::FsEntries take() {
    bytes_ = 0;
    return std::exchange(batch_, {});
  }

 private:
  protocol::FsEntries batch_;
  std::size_t bytes_ = 0;
};

}  // namespace sandbox::agent
