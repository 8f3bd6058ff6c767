#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/fs_methods.hpp"
#include "agent/walk.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsList = "fs.list";

/// Entries of one directory in the file system's order, batch by batch, as fast as the client takes them.
class FsList final : public FileOperation {
 public:
  FsList(Context context, protocol::FsPathRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kFsList, request_.path));
    core::UniqueFd directory(::open(request_.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return file_error(errno, kFsList, request_.path);
    reader_ = DirectoryReader(std::move(directory));
    return slice();
  }

  Result<void> slice() override {
    EntryBatch batch;
    DirectoryReader::Entry found;
    for (int i = 0; i < kEntriesPerSlice && !batch.full(); ++i) {
      if (!reader_.next(found)) {
        if (reader_.error()) return file_error(reader_.error(), kFsList, request_.path);
        if (!batch.empty()) message(batch.take());
        finish(protocol::Empty{});
        return {};
      }
      struct stat info;
      if (::fstatat(reader_.fd(), found.name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;  // removed meanwhile
        // A directory that may be read but not searched: names are all there is.
        protocol::FsEntry entry;
        entry.path = found.name;
        entry.type = found.type;
        batch.add(std::move(entry));
        continue;
      }
      batch.add(make_entry(found.name, info, reader_.fd(), found.name));
    }
    if (!batch.empty()) message(batch.take());
    again_when_sent();
    return {};
  }

  void release() noexcept override { reader_.suspend(); }

 private:
  protocol::FsPathRequest request_;
  DirectoryReader reader_;
};

}  // namespace

Made make_fs_list(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsList, protocol::FsPathRequest>(context, params, key);
}

}  // namespace sandbox::agent
