#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "agent/operation.hpp"
#include "core/unique_fd.hpp"

/// What the fs_* operations share: paths, errors, files that appear complete or not at all, work in slices.
namespace sandbox::agent {

/// Work of one slice: at most this many entries or bytes, which takes well below 1 ms.
inline constexpr int kEntriesPerSlice = 128;
inline constexpr std::size_t kBytesPerSlice = 1 << 20;
/// Names that an operation tells of those it left out; the others it counts.
inline constexpr std::size_t kMaxSkipped = 64;

/// RENAME_NOREPLACE of renameat2(2), which musl does not name.
inline constexpr unsigned kRenameNoReplace = 1;

/// Absolute, at most protocol::kMaxPath bytes, without NUL. Any other byte may occur.
Result<void> check_path(std::string_view operation, std::string_view path);
/// The error of a failed system call on `path` (shown with control bytes escaped).
Error file_error(int sys_errno, std::string_view operation, std::string_view path);
/// The error for something that is not a regular file: invalid_argument, EISDIR for directories.
Error not_regular(std::string_view operation, std::string_view path, mode_t mode);

protocol::FileType file_type(mode_t mode) noexcept;
/// From d_type of a directory entry; unknown where the file system does not say.
protocol::FileType file_type_of_dirent(unsigned char type) noexcept;
std::int64_t nanoseconds(const timespec& time) noexcept;
timespec to_timespec(std::int64_t nanoseconds) noexcept;
/// Target of symlink `name` below `dir`; empty with errno set when it is none.
std::string read_link(int dir, const char* name);
/// What the protocol says of one file; reads the target of a symlink.
protocol::FsEntry make_entry(std::string path, const struct stat& info, int dir, const char* name);

/// Opens a regular file for reading or writing (`flags`: O_RDONLY, or O_WRONLY with O_APPEND, O_CREAT, O_EXCL). FIFOs,
/// devices and sockets are refused before they are opened, and nothing here blocks. Follows symlinks.
Result<core::UniqueFd> open_regular(std::string_view operation, const std::string& path, int flags, mode_t mode = 0);

/// A directory and a name in it.
struct Place {
  core::UniqueFd dir;   ///< O_PATH
  std::string name;     ///< one component; never empty, "." for the root directory
};
/// The directory that holds the last component of `path` (trailing slashes ignored), symlinks before it followed.
Result<Place> open_place(std::string_view operation, std::string_view path);
/// As above, following a symlink at the end too (also a dangling one), as open(2) with O_CREAT does.
Result<Place> open_followed_place(std::string_view operation, std::string_view path);
/// The path without its last component: "/" for "/a".
std::string_view parent_of(std::string_view path) noexcept;
/// Creates directory `path` and missing parents. An existing directory, also through symlinks, is fine.
Result<void> make_directories(std::string_view operation, const std::string& path, mode_t mode);

/// openat(2) of `relative` (no leading slash; empty: `root` itself) that never passes through or ends in a symlink and
/// never leaves `root`: openat2(2) RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, or component by component on kernels without.
/// `relative` may be longer than PATH_MAX. Empty with errno set on failure.
core::UniqueFd open_beneath(int root, std::string_view relative, int flags) noexcept;

/// Fills `name` with a fresh name of ours: kTemporaryPrefix and 16 hex digits.
inline constexpr std::string_view kTemporaryPrefix = ".sbx-";
std::string temporary_name();
/// Whether temporary_name() could have made it.
bool is_temporary_name(std::string_view name) noexcept;

/// A new regular file that gets its name only when it is complete: unnamed (O_TMPFILE) where the file system can do
/// that, else under a temporary name in the same directory. Removed when dropped before commit().
class NewFile {
 public:
  NewFile() = default;
  NewFile(NewFile&&) = default;
  NewFile& operator=(NewFile&& other) noexcept;
  ~NewFile() { discard(); }

  /// `dir` is only used during the call.
  static Result<NewFile> create(std::string_view operation, int dir, std::string_view shown);
  /// As on a file system that knows no unnamed files.
  static Result<NewFile> create_named(std::string_view operation, int dir, std::string_view shown);
  int fd() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  /// Gives the file `mode` and its name, replacing what is there unless `exclusive` (then already_exists).
  Result<void> commit(std::string_view operation, std::string_view shown, const std::string& name, mode_t mode,
                      bool exclusive);
  void discard() noexcept;

 private:
  core::UniqueFd dir_, fd_;
  std::string temporary_;   ///< empty while the file has no name
};

/// Base of the fs_* operations. Subclasses do what is quick in start(), the rest in slices or in answer to data; each of
/// these may finish() or fail() and must return right after.
class FileOperation : public Operation {
 public:
  using Operation::Operation;
  ~FileOperation() override { halt(); }

  void begin() { check(start()); }
  void on_lost(const Error&) override {
    halt();
    release();
  }
  void on_drained() override { again(); }

 protected:
  virtual Result<void> start() = 0;
  virtual Result<void> slice() { return {}; }
  /// Drops files and temporaries: runs once the outcome is known, before the END is queued. Destructors do the same.
  virtual void release() noexcept {}
  void conclude(protocol::End end) override;

  /// Fails with the error, if there is one.
  void check(Result<void> result) {
    if (!result) fail(result.error());
  }
  /// Calls slice() in the loop's next turn.
  void again();
  /// The same, once the client has taken what was sent: for operations that answer with messages, which know no credit.
  void again_when_sent();
  std::span<std::byte> scratch() noexcept;
  void touched(std::size_t size) noexcept;
  session::Session& session() noexcept { return context().session; }
  session::StreamId stream() noexcept { return context().stream; }

 private:
  void halt() noexcept;
  std::uint64_t slice_ = 0;
};

/// Decodes the request and starts the operation: the OperationFactory of most methods.
template <class Op, protocol::Message Request>
Result<std::unique_ptr<Operation>> make_file_operation(Context context, ByteView params, std::string_view) {
  SANDBOX_TRY(auto request, protocol::decode<Request>(params));
  auto operation = std::make_unique<Op>(context, std::move(request));
  operation->begin();
  return std::unique_ptr<Operation>(std::move(operation));
}

}  // namespace sandbox::agent
