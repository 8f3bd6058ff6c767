#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/fwd.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

/// What a transfer moved.
struct TransferSummary {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> skipped;  ///< names of devices, sockets and FIFOs left out (at most 64)
};

/// A file's content, or a directory's as a tar stream, piece by piece at the reader's pace: what is not read waits in the
/// sandbox. Move-only; destroying it ends the transfer. For one thread at a time.
class FileReader {
 public:
  FileReader(FileReader&&) noexcept;
  FileReader& operator=(FileReader&&) noexcept;
  ~FileReader();

  /// The next bytes (up to a few MiB); empty at the end, repeatably. Blocks. Errors: those of Fs, the first one again on
  /// every later call; corrupt when the agent sent fewer bytes than it says the file had.
  Result<Bytes> read();
  /// Ends the transfer before its handle goes: calls under way and later ones fail with cancelled. Idempotent; from any
  /// thread.
  void close() noexcept;
  template <class Token> auto async_read(Token&& token);  ///< void(Result<Bytes>); one at a time. Cancel: nothing is lost

  struct State;  // lib/api
  explicit FileReader(std::shared_ptr<State> state) noexcept;

 private:
  std::shared_ptr<State> state_;
};

/// Content on its way into a file, or a tar stream into a directory. A file takes its place only with finish(): destroying
/// the writer before leaves the old content; entries of a tar already extracted stay. Move-only. For one thread at a time.
class FileWriter {
 public:
  FileWriter(FileWriter&&) noexcept;
  FileWriter& operator=(FileWriter&&) noexcept;
  ~FileWriter();

  /// Blocks while the sandbox has not taken enough of what was written before. Errors: those of Fs (a full disk shows
  /// here or in finish()); failed_precondition after finish().
  Result<void> write(ByteView bytes);
  Result<void> write(std::string_view text) { return write(as_bytes(text)); }
  /// No more content: waits until everything is in place.
  Result<TransferSummary> finish();
  /// As FileReader::close().
  void close() noexcept;

  template <class Token> auto async_write(Bytes bytes, Token&& token);  ///< void(Result<void>); one at a time
  template <class Token> auto async_finish(Token&& token);              ///< void(Result<TransferSummary>)

  struct State;
  explicit FileWriter(std::shared_ptr<State> state) noexcept;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace sandbox
