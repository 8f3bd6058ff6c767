#include "files.hpp"

#include "arguments.hpp"
#include "values.hpp"
#include "workers.hpp"

static_assert(static_cast<int>(sandbox::FileType::block) == SBX_FILE_BLOCK);

struct sbx_file_list {
  explicit sbx_file_list(std::vector<sandbox::FileInfo> content) : files(std::move(content)) {}
  const std::vector<sandbox::FileInfo> files;
};

using namespace sandbox;
using namespace sandbox::c;

namespace sandbox::c {

void fill_transfer(sbx_transfer* out, const TransferSummary& summary) {
  if (!out) return;
  sbx_transfer told SBX_TRANSFER_INIT;
  told.entries = summary.entries;
  told.bytes = summary.bytes;
  told.skipped = summary.skipped.size();
  fill(out, told);
}

Result<void> check_transfer(const sbx_transfer* out) {
  if (!out) return {};
  return check_out(out, "transfer");
}

}  // namespace sandbox::c

namespace {

using FilesPtr = std::unique_ptr<sbx_file_list>;

FilesPtr list_of(std::vector<FileInfo> files) { return std::make_unique<sbx_file_list>(std::move(files)); }
FilesPtr list_of_one(FileInfo file) {
  std::vector<FileInfo> files;
  files.push_back(std::move(file));
  return list_of(std::move(files));
}

ByteCount limit_of(uint64_t max) { return max == 0 ? ByteCount::gib(1) : ByteCount(max); }

Result<Work<TransferSummary>> prepare_upload(sbx_sandbox* sandbox, sbx_view host_path, sbx_view path) {
  SANDBOX_TRY(Fs fs, files_of(sandbox));
  SANDBOX_TRY(std::string from, text_of(host_path, "host_path"));
  SANDBOX_TRY(std::string to, text_of(path, "path"));
  return Work<TransferSummary>([fs, from = std::move(from), to = std::move(to)]() mutable { return fs.upload(from, to); });
}

Result<Work<TransferSummary>> prepare_download(sbx_sandbox* sandbox, sbx_view path, sbx_view host_path) {
  SANDBOX_TRY(Fs fs, files_of(sandbox));
  SANDBOX_TRY(std::string from, text_of(path, "path"));
  SANDBOX_TRY(std::string to, text_of(host_path, "host_path"));
  return Work<TransferSummary>([fs, from = std::move(from), to = std::move(to)]() mutable { return fs.download(from, to); });
}

template <class Prepare>
sbx_code transfer_now(sbx_error** err, sbx_transfer* out, Prepare&& prepare) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_CHECK(check_transfer(out));
    SANDBOX_TRY(const auto work, prepare());
    SANDBOX_TRY(const TransferSummary moved, work());
    return fill_transfer(out, moved), Result<void>();
  });
}

/// `action(Fs&, path) -> Result<T>`, blocking.
template <class Action>
auto with_path(sbx_sandbox* sandbox, sbx_view path, Action&& action) -> decltype(action(std::declval<Fs&>(), std::string())) {
  SANDBOX_TRY(Fs fs, files_of(sandbox));
  SANDBOX_TRY(std::string text, text_of(path, "path"));
  return action(fs, std::move(text));
}

/// The started form: `begin(Fs&, path)`.
template <class T, class Begin>
sbx_op* start_path(sbx_sandbox* sandbox, sbx_view path, Begin&& begin) {
  return start<T>([&](const OpPtr<T>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string text, text_of(path, "path"));
    begin(op, fs, std::move(text));
    return {};
  });
}

}  // namespace

// ---- content --------------------------------------------------------------------------------------------------------------

sbx_code sbx_fs_read(sbx_sandbox* sandbox, sbx_view path, uint64_t max, sbx_bytes** content, sbx_error** err) {
  return guard(err, content, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(Bytes bytes, with_path(sandbox, path, [&](Fs& fs, std::string at) { return fs.read(std::move(at), limit_of(max)); }));
    return own(std::move(bytes));
  });
}
sbx_op* sbx_fs_read_start(sbx_sandbox* sandbox, sbx_view path, uint64_t max) {
  return start_path<BytesPtr>(sandbox, path, [&](const auto& op, Fs& fs, std::string at) {
    fs.async_read(std::move(at), limit_of(max), OpToken{op, own<Bytes>});
  });
}
sbx_code sbx_fs_read_range(sbx_sandbox* sandbox, sbx_view path, uint64_t offset, uint64_t length, sbx_bytes** content, sbx_error** err) {
  return guard(err, content, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(Bytes bytes,
                with_path(sandbox, path, [&](Fs& fs, std::string at) { return fs.read_range(std::move(at), offset, length); }));
    return own(std::move(bytes));
  });
}
sbx_op* sbx_fs_read_range_start(sbx_sandbox* sandbox, sbx_view path, uint64_t offset, uint64_t length) {
  return start_path<BytesPtr>(sandbox, path, [&](const auto& op, Fs& fs, std::string at) {
    fs.async_read_range(std::move(at), offset, length, OpToken{op, own<Bytes>});
  });
}
sbx_code sbx_fs_write(sbx_sandbox* sandbox, sbx_view path, sbx_view content, const sbx_write_options* options, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(const WriteOptions how, write_options_of(options));
    SANDBOX_TRY(const ByteView bytes, bytes_of(content, "content"));
    return with_path(sandbox, path, [&](Fs& fs, std::string at) { return fs.write(std::move(at), bytes, how); });
  });
}
sbx_op* sbx_fs_write_start(sbx_sandbox* sandbox, sbx_view path, sbx_view content, const sbx_write_options* options) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string at, text_of(path, "path"));
    SANDBOX_TRY(const WriteOptions how, write_options_of(options));
    SANDBOX_TRY(const ByteView bytes, bytes_of(content, "content"));
    fs.async_write(std::move(at), Bytes(bytes.begin(), bytes.end()), how, ends(op));
    return {};
  });
}

sbx_code sbx_fs_upload(sbx_sandbox* sandbox, sbx_view host_path, sbx_view path, sbx_transfer* transfer, sbx_error** err) {
  return transfer_now(err, transfer, [&] { return prepare_upload(sandbox, host_path, path); });
}
sbx_op* sbx_fs_upload_start(sbx_sandbox* sandbox, sbx_view host_path, sbx_view path) {
  return start_work<TransferSummary>(Lane::slow, [&] { return prepare_upload(sandbox, host_path, path); });
}
sbx_code sbx_fs_download(sbx_sandbox* sandbox, sbx_view path, sbx_view host_path, sbx_transfer* transfer, sbx_error** err) {
  return transfer_now(err, transfer, [&] { return prepare_download(sandbox, path, host_path); });
}
sbx_op* sbx_fs_download_start(sbx_sandbox* sandbox, sbx_view path, sbx_view host_path) {
  return start_work<TransferSummary>(Lane::slow, [&] { return prepare_download(sandbox, path, host_path); });
}
sbx_code sbx_op_take_transfer(sbx_op* op, sbx_transfer* transfer, sbx_error** err) {
  return take_struct<TransferSummary>(op, err, transfer, "transfer", fill_transfer);
}

// ---- entries --------------------------------------------------------------------------------------------------------------

sbx_code sbx_fs_list(sbx_sandbox* sandbox, sbx_view path, sbx_file_list** files, sbx_error** err) {
  return guard(err, files, [&]() -> Result<FilesPtr> {
    SANDBOX_TRY(auto list, with_path(sandbox, path, [](Fs& fs, std::string at) { return fs.list(std::move(at)); }));
    return list_of(std::move(list));
  });
}
sbx_op* sbx_fs_list_start(sbx_sandbox* sandbox, sbx_view path) {
  return start_path<FilesPtr>(sandbox, path, [](const auto& op, Fs& fs, std::string at) { fs.async_list(std::move(at), OpToken{op, list_of}); });
}

sbx_code sbx_fs_find(sbx_sandbox* sandbox, sbx_view root, sbx_view pattern, const sbx_find_options* options, sbx_file_list** files,
                     sbx_error** err) {
  return guard(err, files, [&]() -> Result<FilesPtr> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string at, text_of(root, "root"));
    SANDBOX_TRY(std::string glob, text_of(pattern, "pattern"));
    SANDBOX_TRY(const FindOptions how, find_options_of(options));
    SANDBOX_TRY(auto list, fs.find(std::move(at), std::move(glob), how));
    return list_of(std::move(list));
  });
}
sbx_op* sbx_fs_find_start(sbx_sandbox* sandbox, sbx_view root, sbx_view pattern, const sbx_find_options* options) {
  return start<FilesPtr>([&](const OpPtr<FilesPtr>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string at, text_of(root, "root"));
    SANDBOX_TRY(std::string glob, text_of(pattern, "pattern"));
    SANDBOX_TRY(const FindOptions how, find_options_of(options));
    fs.async_find(std::move(at), std::move(glob), how, OpToken{op, list_of});
    return {};
  });
}

sbx_code sbx_fs_stat(sbx_sandbox* sandbox, sbx_view path, int follow, sbx_file_list** files, sbx_error** err) {
  return guard(err, files, [&]() -> Result<FilesPtr> {
    SANDBOX_TRY(FileInfo info, with_path(sandbox, path, [&](Fs& fs, std::string at) {
                  return follow ? fs.stat(std::move(at)) : fs.lstat(std::move(at));
                }));
    return list_of_one(std::move(info));
  });
}
sbx_op* sbx_fs_stat_start(sbx_sandbox* sandbox, sbx_view path, int follow) {
  return start_path<FilesPtr>(sandbox, path, [&](const auto& op, Fs& fs, std::string at) {
    if (follow) fs.async_stat(std::move(at), OpToken{op, list_of_one});
    else fs.async_lstat(std::move(at), OpToken{op, list_of_one});
  });
}
sbx_code sbx_op_take_files(sbx_op* op, sbx_file_list** files, sbx_error** err) { return take_handle(op, files, err); }

size_t sbx_file_list_size(const sbx_file_list* files) { return files ? files->files.size() : 0; }
sbx_code sbx_file_list_at(const sbx_file_list* files, size_t index, sbx_file_info* info, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    if (!files) return null_argument("files");
    SANDBOX_CHECK(check_out(info, "info"));
    if (index >= files->files.size()) return bad_argument("index", "is beyond the end");
    const FileInfo& file = files->files[index];
    sbx_file_info told SBX_FILE_INFO_INIT;
    told.path = view_of(file.path);
    told.type = static_cast<sbx_file_type>(file.type);
    told.size = file.size;
    told.mode = file.mode;
    told.uid = file.uid;
    told.gid = file.gid;
    told.modified_ns = file.modified.count();
    told.target = view_of(file.target);
    return fill(info, told), Result<void>();
  });
}
void sbx_file_list_free(sbx_file_list** files) { free_value(files); }

// ---- changes --------------------------------------------------------------------------------------------------------------

sbx_code sbx_fs_mkdir(sbx_sandbox* sandbox, sbx_view path, sbx_error** err) {
  return guard(err, [&] { return with_path(sandbox, path, [](Fs& fs, std::string at) { return fs.mkdir(std::move(at)); }); });
}
sbx_op* sbx_fs_mkdir_start(sbx_sandbox* sandbox, sbx_view path) {
  return start_path<Nothing>(sandbox, path, [](const auto& op, Fs& fs, std::string at) { fs.async_mkdir(std::move(at), ends(op)); });
}

sbx_code sbx_fs_remove(sbx_sandbox* sandbox, sbx_view path, int recursive, sbx_error** err) {
  return guard(err, [&] {
    return with_path(sandbox, path,
                     [&](Fs& fs, std::string at) { return recursive ? fs.remove_all(std::move(at)) : fs.remove(std::move(at)); });
  });
}
sbx_op* sbx_fs_remove_start(sbx_sandbox* sandbox, sbx_view path, int recursive) {
  return start_path<Nothing>(sandbox, path, [&](const auto& op, Fs& fs, std::string at) {
    if (recursive) fs.async_remove_all(std::move(at), ends(op));
    else fs.async_remove(std::move(at), ends(op));
  });
}

sbx_code sbx_fs_chmod(sbx_sandbox* sandbox, sbx_view path, uint32_t mode, sbx_error** err) {
  return guard(err, [&] { return with_path(sandbox, path, [&](Fs& fs, std::string at) { return fs.chmod(std::move(at), mode); }); });
}
sbx_op* sbx_fs_chmod_start(sbx_sandbox* sandbox, sbx_view path, uint32_t mode) {
  return start_path<Nothing>(sandbox, path, [&](const auto& op, Fs& fs, std::string at) { fs.async_chmod(std::move(at), mode, ends(op)); });
}

sbx_code sbx_fs_rename(sbx_sandbox* sandbox, sbx_view from, sbx_view to, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(std::string target, text_of(to, "to"));
    return with_path(sandbox, from, [&](Fs& fs, std::string at) { return fs.rename(std::move(at), std::move(target)); });
  });
}
sbx_op* sbx_fs_rename_start(sbx_sandbox* sandbox, sbx_view from, sbx_view to) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string source, text_of(from, "from"));
    SANDBOX_TRY(std::string target, text_of(to, "to"));
    fs.async_rename(std::move(source), std::move(target), ends(op));
    return {};
  });
}

sbx_code sbx_fs_copy(sbx_sandbox* sandbox, sbx_view from, sbx_view to, uint64_t* bytes, sbx_error** err) {
  return guard(err, bytes, uint64_t{0}, [&]() -> Result<uint64_t> {
    SANDBOX_TRY(std::string target, text_of(to, "to"));
    return with_path(sandbox, from, [&](Fs& fs, std::string at) { return fs.copy(std::move(at), std::move(target)); });
  });
}
sbx_op* sbx_fs_copy_start(sbx_sandbox* sandbox, sbx_view from, sbx_view to) {
  return start<uint64_t>([&](const OpPtr<uint64_t>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string source, text_of(from, "from"));
    SANDBOX_TRY(std::string target, text_of(to, "to"));
    fs.async_copy(std::move(source), std::move(target), OpToken{op, [](uint64_t bytes) { return bytes; }});
    return {};
  });
}

sbx_code sbx_fs_symlink(sbx_sandbox* sandbox, sbx_view target, sbx_view path, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(std::string content, text_of(target, "target"));
    return with_path(sandbox, path, [&](Fs& fs, std::string at) { return fs.symlink(std::move(content), std::move(at)); });
  });
}
sbx_op* sbx_fs_symlink_start(sbx_sandbox* sandbox, sbx_view target, sbx_view path) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(Fs fs, files_of(sandbox));
    SANDBOX_TRY(std::string content, text_of(target, "target"));
    SANDBOX_TRY(std::string at, text_of(path, "path"));
    fs.async_symlink(std::move(content), std::move(at), ends(op));
    return {};
  });
}
