#include <array>

#include "conformance/scenarios/operations.hpp"

namespace sandbox::scenarios {

namespace {

constexpr std::array<const char*, 8> kTypes = {"unknown", "regular", "directory", "symlink",
                                               "fifo",    "socket",  "character", "block"};
constexpr std::array<const char*, 7> kChanges = {"?",       "created",    "modified", "removed",
                                                 "renamed", "attributes", "overflow"};

template <std::size_t N>
std::size_t index_of(const std::array<const char*, N>& names, const std::string& wanted) {
  for (std::size_t i = 0; i < N; ++i) {
    if (wanted == names[i]) return i;
  }
  throw Surprise("unknown name " + wanted);
}

Object file_fields(const FileInfo& file) {
  const std::uint32_t bits = file.mode & 0777;
  std::string mode;
  for (std::uint32_t left = bits; left; left >>= 3) mode.insert(mode.begin(), static_cast<char>('0' + (left & 7)));
  return {{"path", file.path},    {"type", kTypes[static_cast<std::size_t>(file.type)]},
          {"size", file.size},    {"mode", mode.empty() ? "0" : mode},
          {"uid", file.uid},      {"gid", file.gid},
          {"target", file.target}};
}

Result<Object> listed(const Result<std::vector<FileInfo>>& files) {
  if (!files) return files.error();
  List list;
  for (const FileInfo& file : *files) list.push_back(file_fields(file));
  return Object{{"files", list}};
}

Result<Object> content_of(const Result<Bytes>& bytes) {
  if (!bytes) return bytes.error();
  return Object{{"content", std::string(as_text(*bytes))}};
}

WriteOptions write_options(Arguments& args) {
  WriteOptions options;
  options.append = args.flag("append");
  options.exclusive = args.flag("exclusive");
  options.make_parents = args.flag("make_parents");
  options.mode = args.mode("mode");
  return options;
}

Result<Object> stream_write(Fs fs, Arguments& args) {
  const std::string content = args.text("content");
  const auto piece = static_cast<std::size_t>(args.number("piece", 65536));
  SANDBOX_TRY(FileWriter writer, fs.open_writer(args.text("path"), write_options(args)));
  for (std::size_t at = 0; at < content.size(); at += piece) {
    SANDBOX_CHECK(writer.write(std::string_view(content).substr(at, piece)));
  }
  SANDBOX_TRY(const TransferSummary summary, writer.finish());
  return Object{{"bytes", summary.bytes}};
}

Result<Object> stream_read(Fs fs, Arguments& args) {
  SANDBOX_TRY(FileReader reader, fs.open_reader(args.text("path")));
  std::string content;
  for (;;) {
    SANDBOX_TRY(const Bytes piece, reader.read());
    if (piece.empty()) return Object{{"content", content}};
    content += as_text(piece);
  }
}

Result<Object> abandon_write(Fs fs, Arguments& args) {
  SANDBOX_TRY(FileWriter writer, fs.open_writer(args.text("path")));
  return plain(writer.write(args.text("content")));
}

Result<Object> transferred(const Result<TransferSummary>& summary) {
  if (!summary) return summary.error();
  return Object{
      {"entries", summary->entries}, {"bytes", summary->bytes}, {"skipped", std::uint64_t{summary->skipped.size()}}};
}

Result<Object> find(Fs fs, Arguments& args) {
  FindOptions options;
  if (args.has("type")) options.type = static_cast<FileType>(index_of(kTypes, args.text("type")));
  options.max_depth = static_cast<std::uint32_t>(args.number("max_depth"));
  options.max_results = static_cast<std::uint64_t>(args.number("max_results"));
  return listed(fs.find(args.text("root"), args.text("pattern"), options));
}

Object event_fields(const FileEvent& event) {
  return {{"change", kChanges[static_cast<std::size_t>(event.kind)]},
          {"path", event.path},
          {"old_path", event.old_path},
          {"type", kTypes[static_cast<std::size_t>(event.type)]}};
}

Result<Object> watch_until(Watch& watch, Arguments& args) {
  const auto change = static_cast<FileEvent::Kind>(index_of(kChanges, args.text("change")));
  const std::string path = args.text("path");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(args.number("timeout_ms", 10000));
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    SANDBOX_TRY(const FileEvent event, watch.next(std::max(left, std::chrono::milliseconds(1))));
    if (event.kind == change && event.path == path) return event_fields(event);
  }
}

Result<Object> next_event(Watch& watch, Arguments& args) {
  SANDBOX_TRY(const FileEvent event, watch.next(std::chrono::milliseconds(args.number("timeout_ms"))));
  return event_fields(event);
}

}  // namespace

std::optional<Result<Object>> perform_on_files(const Call& call) {
  Arguments& args = call.args;
  if (call.operation == "watch.until") return watch_until(call.object<Watch>(), args);
  if (call.operation == "watch.next") return next_event(call.object<Watch>(), args);
  if (!call.operation.starts_with("fs.")) return std::nullopt;
  const std::string what = call.operation.substr(3);
  Fs fs = call.object<Sandbox>().fs();
  if (what == "read") {
    return content_of(args.has("max")
                          ? fs.read(args.text("path"), ByteCount(static_cast<std::uint64_t>(args.number("max"))))
                          : fs.read(args.text("path")));
  }
  if (what == "read_range") {
    return content_of(fs.read_range(args.text("path"), static_cast<std::uint64_t>(args.number("offset")),
                                    static_cast<std::uint64_t>(args.number("length"))));
  }
  if (what == "write") return plain(fs.write(args.text("path"), args.text("content"), write_options(args)));
  if (what == "stream_read") return stream_read(fs, args);
  if (what == "stream_write") return stream_write(fs, args);
  if (what == "abandon_write") return abandon_write(fs, args);
  if (what == "upload") return transferred(fs.upload(args.text("host_path"), args.text("path")));
  if (what == "download") return transferred(fs.download(args.text("path"), args.text("host_path")));
  if (what == "list") return listed(fs.list(args.text("path")));
  if (what == "find") return find(fs, args);
  if (what == "stat") {
    const auto file = args.flag("follow", true) ? fs.stat(args.text("path")) : fs.lstat(args.text("path"));
    return file ? Result<Object>(file_fields(*file)) : Result<Object>(file.error());
  }
  if (what == "mkdir") return plain(fs.mkdir(args.text("path")));
  if (what == "remove")
    return plain(args.flag("recursive") ? fs.remove_all(args.text("path")) : fs.remove(args.text("path")));
  if (what == "rename") return plain(fs.rename(args.text("from"), args.text("to")));
  if (what == "symlink") return plain(fs.symlink(args.text("target"), args.text("path")));
  if (what == "chmod") return plain(fs.chmod(args.text("path"), args.mode("mode")));
  if (what == "copy") {
    const auto bytes = fs.copy(args.text("from"), args.text("to"));
    return bytes ? Result<Object>(Object{{"bytes", *bytes}}) : Result<Object>(bytes.error());
  }
  if (what == "watch") {
    auto watch = fs.watch(args.text("path"), args.flag("recursive", true));
    if (!watch) return Result<Object>(watch.error());
    call.made = std::make_shared<Watch>(*std::move(watch));
    return Object();
  }
  return std::nullopt;
}

}  // namespace sandbox::scenarios
