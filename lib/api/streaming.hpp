#pragma once

#include <sandbox/file_stream.hpp>

#include "api/files.hpp"
#include "api/ongoing.hpp"

/// Transfers at their user's pace: FileReader and FileWriter over one stream each.
namespace sandbox::api {

TransferSummary to_summary(protocol::FsTarResult&& result);
std::string tar_request(std::string path);

}  // namespace sandbox::api

namespace sandbox {

/// All members: under the link's lock.
struct FileReader::State final : api::Ongoing {
  State(std::shared_ptr<driver::Box> box, bool tar) : Ongoing(std::move(box)), is_tar(tar) {}
  static Result<FileReader> open_reader(const std::shared_ptr<driver::Box>& box, std::string path, bool tar);

  void on_data(session::Channel channel, ByteView data, bool fin) override;
  void ended() override;
  /// Something arrived. On the reactor, not under the lock.
  void tell();
  /// What arrived; empty at the end.
  std::optional<Result<Bytes>> poll_bytes();

  const bool is_tar;
  Bytes arrived;
  bool tells = false;  ///< tell() is on its way
  std::uint64_t total = 0;
  std::optional<Error> broken;  ///< the agent's account of itself does not hold
};

/// All members: under the link's lock.
struct FileWriter::State final : api::Ongoing {
  State(std::shared_ptr<driver::Box> box, bool tar) : Ongoing(std::move(box)), is_tar(tar) {}
  static Result<FileWriter> open_writer(const std::shared_ptr<driver::Box>& box, std::string path, const WriteOptions& options);
  static Result<FileWriter> open_tar_writer(const std::shared_ptr<driver::Box>& box, std::string path);

  void on_writable(session::Channel) override { changed(); }
  std::optional<Result<void>> poll_write(ByteView bytes, std::size_t& sent);
  std::optional<Result<TransferSummary>> poll_finish();

  const bool is_tar;
  bool finishing = false;
};

}  // namespace sandbox
