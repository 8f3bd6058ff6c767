#include "api/streaming.hpp"

#include <utility>

#include <boost/asio/post.hpp>

#include "api/arguments.hpp"
#include "api/extract.hpp"

namespace sandbox {

using protocol::Method;
using session::Channel;

namespace api {

TransferSummary to_summary(protocol::FsTarResult&& result) {
  TransferSummary summary;
  summary.entries = result.entries;
  summary.bytes = result.bytes;
  if (result.skipped.size() > Extractor::kMaxSkipped) result.skipped.resize(Extractor::kMaxSkipped);
  summary.skipped = std::move(result.skipped);
  return summary;
}

std::string tar_request(std::string path) {
  protocol::FsTarRequest request;
  request.path = std::move(path);
  return protocol::encode(request);
}

}  // namespace api

// ---- FileReader ---------------------------------------------------------------------------------------------------------

FileReader::FileReader(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
FileReader::FileReader(FileReader&&) noexcept = default;
FileReader& FileReader::operator=(FileReader&& other) noexcept {
  if (this != &other) {
    if (state_) state_->abandon();
    state_ = std::move(other.state_);
  }
  return *this;
}
FileReader::~FileReader() {
  if (state_) state_->abandon();
}

void FileReader::close() noexcept { state_->abandon(); }

Result<Bytes> FileReader::read() {
  SANDBOX_TRY(auto piece, state_->await<Result<Bytes>>([&] { return state_->poll_bytes(); }, core::TimePoint::max()));
  return *std::move(piece);
}

Result<FileReader> FileReader::State::open_reader(const std::shared_ptr<driver::Box>& box, std::string path, bool tar) {
  SANDBOX_CHECK(api::check_path(path));
  SANDBOX_CHECK(box->usable());
  auto state = std::make_shared<State>(box, tar);
  if (tar) {
    state->open(Method::fs_tar_out, api::tar_request(std::move(path)));
  } else {
    protocol::FsReadRequest request;
    request.path = std::move(path);
    state->open(Method::fs_read, protocol::encode(request));
  }
  return FileReader(std::move(state));
}

void FileReader::State::on_data(Channel channel, ByteView data, bool) {
  if (channel != Channel::out) return session().consumed(stream(), channel, data.size());
  arrived.insert(arrived.end(), data.begin(), data.end());
  total += data.size();
  // Whoever waits on the reactor gets all that it reads in one go: a piece per frame would be a wake-up per frame.
  if (awaited() && !std::exchange(tells, true)) {
    boost::asio::post(box().reactor().context(), [weak = weak_from_this()] {
      if (const auto self = std::static_pointer_cast<State>(weak.lock())) self->tell();
    });
  }
}

void FileReader::State::tell() {
  link().with([&](session::Session&) {
    tells = false;
    changed();
  });
}

void FileReader::State::ended() {
  if (error() || is_tar) return;
  if (auto told = protocol::decode<protocol::FsReadResult>(reply()); !told) broken.emplace(std::move(told).error());
  else if (told->size != total)
    broken.emplace(ErrorCode::corrupt, "the agent sent " + std::to_string(total) + " bytes of " + std::to_string(told->size));
}

std::optional<Result<Bytes>> FileReader::State::poll_bytes() {
  if (!arrived.empty()) {
    Bytes piece = std::exchange(arrived, {});
    if (!over()) session().consumed(stream(), Channel::out, piece.size());
    return Result<Bytes>(std::move(piece));
  }
  if (!over()) return std::nullopt;
  if (error()) return Result<Bytes>(*error());
  if (broken) return Result<Bytes>(*broken);
  return Result<Bytes>(Bytes());
}

// ---- FileWriter ---------------------------------------------------------------------------------------------------------

FileWriter::FileWriter(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
FileWriter::FileWriter(FileWriter&&) noexcept = default;
FileWriter& FileWriter::operator=(FileWriter&& other) noexcept {
  if (this != &other) {
    if (state_) state_->abandon();
    state_ = std::move(other.state_);
  }
  return *this;
}
FileWriter::~FileWriter() {
  if (state_) state_->abandon();
}

void FileWriter::close() noexcept { state_->abandon(); }

Result<void> FileWriter::write(ByteView bytes) {
  std::size_t sent = 0;
  SANDBOX_TRY(auto done, state_->await<Result<void>>([&] { return state_->poll_write(bytes, sent); }, core::TimePoint::max()));
  return *std::move(done);
}

Result<TransferSummary> FileWriter::finish() {
  SANDBOX_TRY(auto done, state_->await<Result<TransferSummary>>([&] { return state_->poll_finish(); }, core::TimePoint::max()));
  return *std::move(done);
}

Result<FileWriter> FileWriter::State::open_writer(const std::shared_ptr<driver::Box>& box, std::string path, const WriteOptions& options) {
  SANDBOX_TRY(std::string request, api::write_request(path, options));
  SANDBOX_CHECK(box->usable());
  auto state = std::make_shared<State>(box, false);
  state->open(Method::fs_write, std::move(request));
  return FileWriter(std::move(state));
}

Result<FileWriter> FileWriter::State::open_tar_writer(const std::shared_ptr<driver::Box>& box, std::string path) {
  SANDBOX_CHECK(api::check_path(path));
  SANDBOX_CHECK(box->usable());
  auto state = std::make_shared<State>(box, true);
  state->open(Method::fs_tar_in, api::tar_request(std::move(path)));
  return FileWriter(std::move(state));
}

std::optional<Result<void>> FileWriter::State::poll_write(ByteView bytes, std::size_t& sent) {
  if (over()) {
    if (error()) return Result<void>(*error());
    return Result<void>(Error(ErrorCode::failed_precondition, "the transfer has ended"));
  }
  if (finishing) return Result<void>(Error(ErrorCode::failed_precondition, "the writer was finished"));
  if (sent < bytes.size()) sent += session().send(stream(), Channel::in, bytes.subspan(sent));
  if (sent < bytes.size()) return std::nullopt;
  return Result<void>();
}

std::optional<Result<TransferSummary>> FileWriter::State::poll_finish() {
  if (!over()) {
    if (!std::exchange(finishing, true)) session().send(stream(), Channel::in, {}, true);
    if (!over()) return std::nullopt;
  }
  if (error()) return Result<TransferSummary>(*error());
  if (is_tar) {
    auto told = protocol::decode<protocol::FsTarResult>(reply());
    if (!told) return Result<TransferSummary>(std::move(told).error());
    return Result<TransferSummary>(api::to_summary(*std::move(told)));
  }
  auto told = protocol::decode<protocol::FsWriteResult>(reply());
  if (!told) return Result<TransferSummary>(std::move(told).error());
  TransferSummary summary;
  summary.entries = 1;
  summary.bytes = told->size;
  return Result<TransferSummary>(std::move(summary));
}

// ---- Fs -----------------------------------------------------------------------------------------------------------------

Result<FileReader> Fs::open_reader(std::string path) { return FileReader::State::open_reader(box_, std::move(path), false); }
Result<FileReader> Fs::open_tar_reader(std::string path) { return FileReader::State::open_reader(box_, std::move(path), true); }
Result<FileWriter> Fs::open_writer(std::string path, WriteOptions options) {
  return FileWriter::State::open_writer(box_, std::move(path), options);
}
Result<FileWriter> Fs::open_tar_writer(std::string path) { return FileWriter::State::open_tar_writer(box_, std::move(path)); }

}  // namespace sandbox
