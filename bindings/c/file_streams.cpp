#include "arguments.hpp"
#include "files.hpp"
#include "values.hpp"

static_assert(static_cast<int>(sandbox::FileEvent::Kind::overflow) == SBX_OVERFLOW);

struct sbx_watch : sandbox::c::Closeable<sandbox::Watch> {
  using Closeable::Closeable;
  sandbox::FileEvent event;  ///< what sbx_watch_next lends
};

using namespace sandbox;
using namespace sandbox::c;

namespace {

using WatchPtr = std::unique_ptr<sbx_watch>;

/// The stream behind a handle that is neither null nor closed.
template <class Handle>
auto stream_of(Handle* handle, std::string_view argument) -> Result<decltype(&handle->stream)> {
  if (!handle) return null_argument(argument);
  SANDBOX_CHECK(handle->usable());
  return &handle->stream;
}

template <class Handle, class Open>
sbx_code open_stream(sbx_sandbox* sandbox, sbx_view path, Handle** out, sbx_error** err, Open&& open) {
  return guard(err, out, [&]() -> Result<std::unique_ptr<Handle>> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string at, text_of(path, "path"));
    SANDBOX_TRY(auto stream, open(fs, std::move(at)));
    return std::make_unique<Handle>(std::move(stream));
  });
}

BytesPtr piece_of(Bytes piece) { return piece.empty() ? nullptr : own(std::move(piece)); }

void fill_event(sbx_file_event* out, const FileEvent& event) {
  sbx_file_event told SBX_FILE_EVENT_INIT;
  told.change = static_cast<sbx_change>(event.kind);
  told.type = static_cast<sbx_file_type>(event.type);
  told.path = view_of(event.path);
  told.old_path = view_of(event.old_path);
  fill(out, told);
}

}  // namespace

// ---- readers and writers --------------------------------------------------------------------------------------------------

sbx_code sbx_fs_open_reader(sbx_sandbox* sandbox, sbx_view path, sbx_reader** reader, sbx_error** err) {
  return open_stream(sandbox, path, reader, err, [](Fs& fs, std::string at) { return fs.open_reader(std::move(at)); });
}
sbx_code sbx_fs_open_tar_reader(sbx_sandbox* sandbox, sbx_view path, sbx_reader** reader, sbx_error** err) {
  return open_stream(sandbox, path, reader, err, [](Fs& fs, std::string at) { return fs.open_tar_reader(std::move(at)); });
}
sbx_code sbx_fs_open_writer(sbx_sandbox* sandbox, sbx_view path, const sbx_write_options* options, sbx_writer** writer, sbx_error** err) {
  return open_stream(sandbox, path, writer, err, [&](Fs& fs, std::string at) -> Result<FileWriter> {
    SANDBOX_TRY(const WriteOptions how, write_options_of(options));
    return fs.open_writer(std::move(at), how);
  });
}
sbx_code sbx_fs_open_tar_writer(sbx_sandbox* sandbox, sbx_view path, sbx_writer** writer, sbx_error** err) {
  return open_stream(sandbox, path, writer, err, [](Fs& fs, std::string at) { return fs.open_tar_writer(std::move(at)); });
}

sbx_code sbx_reader_read(sbx_reader* reader, sbx_bytes** bytes, sbx_error** err) {
  return guard(err, bytes, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(FileReader* const stream, stream_of(reader, "reader"));
    SANDBOX_TRY(Bytes piece, stream->read());
    return piece_of(std::move(piece));
  });
}
sbx_op* sbx_reader_read_start(sbx_reader* reader) {
  return start<BytesPtr>([&](const OpPtr<BytesPtr>& op) -> Result<void> {
    SANDBOX_TRY(FileReader* const stream, stream_of(reader, "reader"));
    stream->async_read(OpToken{op, piece_of});
    return {};
  });
}
void sbx_reader_close(sbx_reader* reader) {
  if (reader) reader->close();
}
void sbx_reader_free(sbx_reader** reader) { free_handle(reader); }

sbx_code sbx_writer_write(sbx_writer* writer, sbx_view bytes, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(FileWriter* const stream, stream_of(writer, "writer"));
    SANDBOX_TRY(const ByteView content, bytes_of(bytes, "bytes"));
    return stream->write(content);
  });
}
sbx_op* sbx_writer_write_start(sbx_writer* writer, sbx_view bytes) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(FileWriter* const stream, stream_of(writer, "writer"));
    SANDBOX_TRY(const ByteView content, bytes_of(bytes, "bytes"));
    stream->async_write(Bytes(content.begin(), content.end()), ends(op));
    return {};
  });
}
sbx_code sbx_writer_finish(sbx_writer* writer, sbx_transfer* transfer, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_CHECK(check_transfer(transfer));
    SANDBOX_TRY(FileWriter* const stream, stream_of(writer, "writer"));
    SANDBOX_TRY(const TransferSummary moved, stream->finish());
    return fill_transfer(transfer, moved), Result<void>();
  });
}
sbx_op* sbx_writer_finish_start(sbx_writer* writer) {
  return start<TransferSummary>([&](const OpPtr<TransferSummary>& op) -> Result<void> {
    SANDBOX_TRY(FileWriter* const stream, stream_of(writer, "writer"));
    stream->async_finish(OpToken{op, [](TransferSummary moved) { return moved; }});
    return {};
  });
}
void sbx_writer_close(sbx_writer* writer) {
  if (writer) writer->close();
}
void sbx_writer_free(sbx_writer** writer) { free_handle(writer); }

// ---- watches --------------------------------------------------------------------------------------------------------------

sbx_code sbx_fs_watch(sbx_sandbox* sandbox, sbx_view path, int recursive, sbx_watch** watch, sbx_error** err) {
  return open_stream(sandbox, path, watch, err, [&](Fs& fs, std::string at) { return fs.watch(std::move(at), recursive != 0); });
}
sbx_op* sbx_fs_watch_start(sbx_sandbox* sandbox, sbx_view path, int recursive) {
  return start<WatchPtr>([&](const OpPtr<WatchPtr>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string at, text_of(path, "path"));
    fs.async_watch(std::move(at), recursive != 0, OpToken{op, [](Watch begun) { return std::make_unique<sbx_watch>(std::move(begun)); }});
    return {};
  });
}
sbx_code sbx_op_take_watch(sbx_op* op, sbx_watch** watch, sbx_error** err) { return take_handle(op, watch, err); }

sbx_code sbx_watch_next(sbx_watch* watch, int64_t timeout_ms, sbx_file_event* event, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_CHECK(check_out(event, "event"));
    SANDBOX_TRY(Watch* const stream, stream_of(watch, "watch"));
    SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::milliseconds(0)));
    SANDBOX_TRY(watch->event, stream->next(timeout));
    return fill_event(event, watch->event), Result<void>();
  });
}
sbx_op* sbx_watch_next_start(sbx_watch* watch) {
  return start<FileEvent>([&](const OpPtr<FileEvent>& op) -> Result<void> {
    SANDBOX_TRY(Watch* const stream, stream_of(watch, "watch"));
    stream->async_next(OpToken{op, [](FileEvent event) { return event; }});
    return {};
  });
}
sbx_code sbx_op_take_file_event(sbx_op* op, sbx_file_event* event, sbx_error** err) {
  return take_struct<FileEvent>(op, err, event, "event", [op](sbx_file_event* out, FileEvent taken) {
    op->event = std::move(taken);
    fill_event(out, *op->event);
  });
}
void sbx_watch_close(sbx_watch* watch) {
  if (watch) watch->close();
}
void sbx_watch_free(sbx_watch** watch) { free_handle(watch); }
