#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/file_stream.hpp>
#include <sandbox/fwd.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

enum class FileType : std::uint8_t { unknown, regular, directory, symlink, fifo, socket, character, block };

struct FileInfo {
  std::string path;                ///< list(): name; find(): path below the root asked; stat(): the path asked
  FileType type = FileType::unknown;
  std::uint64_t size = 0;          ///< bytes
  std::uint32_t mode = 0;          ///< permission bits
  std::uint32_t uid = 0, gid = 0;  ///< as seen inside
  std::chrono::nanoseconds modified{0};  ///< since the Unix epoch
  std::string target;              ///< of a symlink
};

struct WriteOptions {
  WriteOptions() = default;
  bool append = false;        ///< add to the end; otherwise the file is replaced atomically when all bytes are there
  bool exclusive = false;     ///< already_exists instead of replacing
  bool make_parents = false;  ///< create missing directories
  std::uint32_t mode = 0;     ///< permission bits; 0: 0644 or the existing file's
};

struct FindOptions {
  FindOptions() = default;
  std::optional<FileType> type;
  std::uint32_t max_depth = 0;     ///< 0: no limit
  std::uint64_t max_results = 0;   ///< 0: no limit
};

struct FileEvent {
  enum class Kind : std::uint8_t { created = 1, modified, removed, renamed, attributes, overflow };
  Kind kind = Kind::created;     ///< overflow: events were lost, rescan
  std::string path;              ///< absolute, inside
  std::string old_path;          ///< renamed only
  FileType type = FileType::unknown;
};

/// Changes below a directory. Move-only; destroying it ends the watch.
class Watch {
 public:
  Watch(Watch&&) noexcept;
  Watch& operator=(Watch&&) noexcept;
  ~Watch();
  /// The next change. Blocks up to `timeout` (zero: for ever). Errors: deadline_exceeded, unavailable.
  Result<FileEvent> next(std::chrono::milliseconds timeout = {});
  /// Ends the watch before its handle goes: calls under way and later ones fail with cancelled. Idempotent; from any thread.
  void close() noexcept;
  template <class Token> auto async_next(Token&& token);  ///< void(Result<FileEvent>)

  struct State;
  explicit Watch(std::shared_ptr<State> state) noexcept;

 private:
  std::shared_ptr<State> state_;
};

/// Where bytes go to (from); called with each piece in order on the calling thread. Returning an error stops the
/// transfer with that error.
using ByteSink = std::function<Result<void>(ByteView)>;
/// Fills `buffer` and returns how much; 0 ends the transfer.
using ByteSource = std::function<Result<std::size_t>(std::span<std::byte> buffer)>;

/// Files of one sandbox, as the user inside sees them. Paths are absolute (bytes without NUL, ≤ 4095). Regular files
/// only: FIFOs, devices and sockets are refused with invalid_argument, never opened. A light view: copy freely.
/// Errors of all: not_found, permission_denied, invalid_argument (path, kind), resource_exhausted (quota), unavailable.
class Fs {
 public:
  /// The whole file. For files beyond `max` (default 1 GiB) resource_exhausted: use read_to.
  Result<Bytes> read(std::string path, ByteCount max = ByteCount::gib(1));
  Result<std::string> read_text(std::string path, ByteCount max = ByteCount::gib(1));
  /// At most `length` bytes from `offset`.
  Result<Bytes> read_range(std::string path, std::uint64_t offset, std::uint64_t length);
  /// Streams the file; returns its size. Memory stays bounded whatever the size.
  Result<std::uint64_t> read_to(std::string path, ByteSink sink);
  /// Creates or replaces. Replacement is atomic: readers see the old or the new content.
  Result<void> write(std::string path, std::string_view content, WriteOptions options = {});
  Result<void> write(std::string path, ByteView content, WriteOptions options = {});
  Result<std::uint64_t> write_from(std::string path, ByteSource source, WriteOptions options = {});
  Result<void> append(std::string path, std::string_view content);

  /// Content at the caller's pace, for files of any size; open_tar_* the same for a directory as a tar stream. Nothing is
  /// asked of the sandbox yet: what is wrong with `path` shows with the first read, or in finish().
  Result<FileReader> open_reader(std::string path);
  Result<FileReader> open_tar_reader(std::string path);
  Result<FileWriter> open_writer(std::string path, WriteOptions options = {});
  Result<FileWriter> open_tar_writer(std::string path);

  /// Copies a file or directory of this host into the sandbox, or out of it. Directories travel as a tar stream;
  /// extraction on this host stays below `host_path` whatever the stream says.
  Result<TransferSummary> upload(std::string host_path, std::string path);
  Result<TransferSummary> download(std::string path, std::string host_path);
  /// A tar stream (plain ustar/pax/GNU) extracted into, or packed from, directory `path`.
  Result<TransferSummary> upload_tar(ByteSource tar, std::string path);
  Result<TransferSummary> download_tar(std::string path, ByteSink tar);

  /// Entries of a directory, sorted by name.
  Result<std::vector<FileInfo>> list(std::string path);
  Result<FileInfo> stat(std::string path);
  /// Like stat() without following a final symlink.
  Result<FileInfo> lstat(std::string path);
  Result<bool> exists(std::string path);
  /// Creates the directory and its missing parents; an existing directory is fine.
  Result<void> mkdir(std::string path);
  /// A file, symlink or empty directory.
  Result<void> remove(std::string path);
  /// A whole tree; not there is fine.
  Result<void> remove_all(std::string path);
  Result<void> rename(std::string from, std::string to);
  /// Files, or whole directories; returns the bytes copied.
  Result<std::uint64_t> copy(std::string from, std::string to);
  Result<void> symlink(std::string target, std::string path);
  Result<void> chmod(std::string path, std::uint32_t mode);
  /// Sorted paths below `root` that match a glob: * ? [..] in a name, ** across directories. Beyond 4095 bytes: left out.
  Result<std::vector<FileInfo>> find(std::string root, std::string pattern, FindOptions options = {});
  /// Changes below `path` from the moment this returns.
  Result<Watch> watch(std::string path, bool recursive = true);

  // Completion-token forms, <sandbox/asio.hpp>: void(Result<…>) of what the blocking form returns.
  template <class Token> auto async_read(std::string path, Token&& token);
  template <class Token> auto async_read(std::string path, ByteCount max, Token&& token);
  template <class Token> auto async_read_range(std::string path, std::uint64_t offset, std::uint64_t length, Token&& token);
  template <class Token> auto async_write(std::string path, Bytes content, Token&& token);
  template <class Token> auto async_write(std::string path, Bytes content, WriteOptions options, Token&& token);
  template <class Token> auto async_list(std::string path, Token&& token);
  template <class Token> auto async_stat(std::string path, Token&& token);
  template <class Token> auto async_lstat(std::string path, Token&& token);
  template <class Token> auto async_mkdir(std::string path, Token&& token);
  template <class Token> auto async_remove(std::string path, Token&& token);
  template <class Token> auto async_remove_all(std::string path, Token&& token);
  template <class Token> auto async_rename(std::string from, std::string to, Token&& token);
  template <class Token> auto async_copy(std::string from, std::string to, Token&& token);
  template <class Token> auto async_symlink(std::string target, std::string path, Token&& token);
  template <class Token> auto async_chmod(std::string path, std::uint32_t mode, Token&& token);
  template <class Token> auto async_find(std::string root, std::string pattern, FindOptions options, Token&& token);
  template <class Token> auto async_watch(std::string path, bool recursive, Token&& token);

  explicit Fs(std::shared_ptr<driver::Box> box) noexcept : box_(std::move(box)) {}

 private:
  std::shared_ptr<driver::Box> box_;
};

}  // namespace sandbox
