#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <poll.h>
#include <unistd.h>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "outcome.hpp"
#include "output.hpp"
#include "parse.hpp"
#include "progress.hpp"
#include "signals.hpp"
#include "transfer.hpp"

/// Files of a sandbox that exists.
namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

struct FsValues {
  std::string id, path, other;
  bool append = false, make_parents = false, long_form = false;
  std::string mode;
};

/// A transfer that Ctrl-C ends in order.
struct Transferring {
  std::atomic<bool> stop{false};
  std::unique_ptr<Signals> signals;
  bool show = false;

  static Result<std::unique_ptr<Transferring>> start(const Common& common) {
    auto self = std::make_unique<Transferring>();
    SANDBOX_TRY(self->signals, Signals::start([raw = self.get()](int signal) {
      if (signal == SIGWINCH) return;
      // The second says that the first did not help: something hangs.
      if (raw->stop.exchange(true)) ::_exit(128 + signal);
    }));
    self->show = !common.quiet && !common.json && ::isatty(STDERR_FILENO) != 0;
    return self;
  }
};

Error interrupted() { return Error(ErrorCode::cancelled, "interrupted"); }

/// Standard input as it comes, 100 ms after an interrupt at the latest.
sandbox::ByteSource from_stdin(Transferring& transfer, Progress& progress) {
  return [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    while (true) {
      if (transfer.stop) return interrupted();
      pollfd polled{STDIN_FILENO, POLLIN, 0};
      const int ready = ::poll(&polled, 1, 100);
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      const auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got < 0) return Error::from_errno(errno, "sbx.fs", "standard input");
      progress.advance(static_cast<std::uint64_t>(got));
      return static_cast<std::size_t>(got);
    }
  };
}

sandbox::ByteSink to_stdout(Transferring& transfer, Progress& progress, bool& broken) {
  return [&](sandbox::ByteView bytes) -> Result<void> {
    if (transfer.stop) return interrupted();
    if (!print(sandbox::as_text(bytes))) {
      broken = true;
      return Error(ErrorCode::cancelled, "nobody reads the output any more");
    }
    progress.advance(bytes.size());
    return {};
  };
}

/// After a transfer: 141 when the reader left, as `cat` would; 130 after Ctrl-C comes from the error itself.
template <class T>
Result<int> ended(const Result<T>& done, bool broken) {
  if (done) return 0;
  if (!broken) return done.error();
  done.error().ignore("the reader left: not our failure");
  return 128 + SIGPIPE;
}

Result<int> read(Daemon& daemon, const FsValues& values, const Common& common) {
  SANDBOX_TRY(auto box, daemon.client.open(values.id));
  if (common.json) {
    SANDBOX_TRY(const auto bytes, box.fs().read(values.path));
    print_json(Json::object()
                   .add("path", values.path)
                   .add("size", static_cast<std::uint64_t>(bytes.size()))
                   .add_bytes("content", sandbox::as_text(bytes)));
    return 0;
  }
  SANDBOX_TRY(const auto transfer, Transferring::start(common));
  Progress progress(transfer->show && ::isatty(STDOUT_FILENO) == 0, "read " + values.path, 0);
  bool broken = false;
  const auto done = box.fs().read_to(values.path, to_stdout(*transfer, progress, broken));
  return ended(done, broken);
}

Result<int> write(Daemon& daemon, const FsValues& values, const Common& common) {
  sandbox::WriteOptions options;
  options.append = values.append;
  options.make_parents = values.make_parents;
  if (!values.mode.empty()) {
    char* end = nullptr;
    const auto mode = std::strtoul(values.mode.c_str(), &end, 8);
    if (*end != 0 || mode == 0 || mode > 07777)
      return Error(ErrorCode::invalid_argument, "--mode '" + values.mode + "': write it in octal, for example 755");
    options.mode = static_cast<std::uint32_t>(mode);
  }
  SANDBOX_TRY(auto box, daemon.client.open(values.id));
  SANDBOX_TRY(const auto transfer, Transferring::start(common));
  Progress progress(transfer->show && ::isatty(STDIN_FILENO) == 0, "write " + values.path, 0);
  SANDBOX_TRY(const auto size, box.fs().write_from(values.path, from_stdin(*transfer, progress), options));
  if (common.json) print_json(Json::object().add("path", values.path).add("size", size));
  return 0;
}

std::string mode_text(const sandbox::FileInfo& info) {
  static constexpr char kTypes[] = "?-dlpscb";
  std::string text(1, kTypes[std::min<std::size_t>(static_cast<std::size_t>(info.type), sizeof kTypes - 2)]);
  for (int shift = 6; shift >= 0; shift -= 3) {
    text += (info.mode >> shift & 4) != 0 ? 'r' : '-';
    text += (info.mode >> shift & 2) != 0 ? 'w' : '-';
    const bool run = (info.mode >> shift & 1) != 0;
    const bool special = (info.mode & (shift == 6 ? 04000u : shift == 3 ? 02000u : 01000u)) != 0;
    if (special) text += shift == 0 ? (run ? 't' : 'T') : (run ? 's' : 'S');
    else text += run ? 'x' : '-';
  }
  return text;
}

void show_list(const std::vector<sandbox::FileInfo>& list, bool long_form) {
  if (!long_form) {
    std::string text;
    for (const auto& info : list) text += printable(info.path) + (info.type == sandbox::FileType::directory ? "/\n" : "\n");
    print(text);
    return;
  }
  using Align = Table::Align;
  Table table({{"MODE"}, {"UID", Align::right}, {"GID", Align::right}, {"SIZE", Align::right}, {"MODIFIED"}, {"NAME"}});
  for (const auto& info : list) {
    const auto time = std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(info.modified));
    table.add({mode_text(info), std::to_string(info.uid), std::to_string(info.gid), std::to_string(info.size), local_time(time),
               info.path + (info.type == sandbox::FileType::symlink ? " -> " + info.target : "")});
  }
  print(table.str(has_colour(STDOUT_FILENO)));
}

Result<int> list(Daemon& daemon, const FsValues& values, const Common& common) {
  SANDBOX_TRY(auto box, daemon.client.open(values.id));
  const auto path = values.path.empty() ? std::string("/root") : values.path;
  SANDBOX_TRY(const auto list, box.fs().list(path));
  if (common.json) {
    Json json = Json::array();
    for (const auto& info : list) json.push(to_json(info));
    print_json(json);
  } else {
    show_list(list, values.long_form);
  }
  return 0;
}

void tell_skipped(const sandbox::TransferSummary& summary, const Common& common) {
  if (common.json) return print_json(to_json(summary));
  if (common.quiet) return;
  for (const auto& name : summary.skipped) note(common.command, "left out " + name + " (no file, or a link that leads out)");
}

Result<int> upload_tree(Daemon& daemon, const FsValues& values, const Common& common) {
  SANDBOX_TRY(auto box, daemon.client.open(values.id));
  SANDBOX_TRY(const auto transfer, Transferring::start(common));
  if (!values.other.empty()) {
    SANDBOX_TRY(const auto ends, parse_upload(values.path + ":" + values.other, "/root"));
    SANDBOX_CHECK(upload(box, ends, transfer->show, transfer->stop));
    if (common.json) print_json(Json::object().add("from", ends.host).add("to", ends.box));
    return 0;
  }
  Progress progress(transfer->show, "upload to " + values.path, 0);
  SANDBOX_TRY(const auto summary, box.fs().upload_tar(from_stdin(*transfer, progress), values.path));
  tell_skipped(summary, common);
  return 0;
}

Result<int> download_tree(Daemon& daemon, const FsValues& values, const Common& common) {
  SANDBOX_TRY(auto box, daemon.client.open(values.id));
  SANDBOX_TRY(const auto transfer, Transferring::start(common));
  if (!values.other.empty()) {
    auto host = values.other == "." ? std::string("./") : values.other;
    if (host.back() == '/') {
      // A name that ends in "/" gets the last part of the other one.
      SANDBOX_TRY(const auto named, parse_download(values.path + ":" + host, "/root"));
      host = named.host;
    }
    const Transfer ends{host, values.path};
    SANDBOX_CHECK(download(box, ends, transfer->show, transfer->stop));
    if (common.json) print_json(Json::object().add("from", ends.box).add("to", ends.host));
    return 0;
  }
  Progress progress(transfer->show, "download " + values.path, 0);
  bool broken = false;
  const auto summary = box.fs().download_tar(values.path, to_stdout(*transfer, progress, broken));
  if (summary && !common.quiet) {
    for (const auto& name : summary->skipped) note(common.command, "left out " + name + " (no file, or a link that leads out)");
  }
  return ended(summary, broken);
}

using Work = Result<int> (*)(Daemon&, const FsValues&, const Common&);

Command make(std::string path, std::string help, const std::shared_ptr<FsValues>& values, Work work) {
  Command command;
  command.path = std::move(path);
  command.help = std::move(help);
  command.options = {{.names = "ID", .into = &values->id, .help = "sbx-…", .required = true, .completes = Completes::sandboxes}};
  command.run = [values, work](const Common& common) {
    return with_daemon(common, [&](Daemon& daemon) -> Result<int> {
      auto done = work(daemon, *values, common);
      if (done || done.error().code() != ErrorCode::cancelled) return done;
      fail(common, done.error());
      return 128 + SIGINT;
    });
  };
  return command;
}

Option path_option(FsValues& values, bool required = true) {
  return {.names = "PATH", .into = &values.path, .help = "Absolute path inside", .required = required};
}

}  // namespace

Command fs_read() {
  const auto values = std::make_shared<FsValues>();
  auto command = make("fs read", "Write a file of the sandbox to standard output", values, read);
  command.examples = "Examples:\n  sbx fs read sbx-247bf1d3 /root/out.txt\n";
  command.options.push_back(path_option(*values));
  return command;
}

Command fs_write() {
  const auto values = std::make_shared<FsValues>();
  auto command = make("fs write", "Make a file in the sandbox from standard input", values, write);
  command.examples =
      "Examples:\n  echo hello | sbx fs write sbx-247bf1d3 /root/hello.txt\n  sbx fs write -p --mode 755 sbx-247bf1d3 /root/bin/tool < "
      "tool\n";
  command.options.push_back(path_option(*values));
  command.options.push_back({.names = "--append,-a", .into = &values->append, .help = "Add to the end instead of replacing"});
  command.options.push_back({.names = "--parents,-p", .into = &values->make_parents, .help = "Create missing directories"});
  command.options.push_back(
      {.names = "--mode", .into = &values->mode, .help = "Permission bits in octal (default 644, or as they are)", .value = "BITS"});
  return command;
}

Command fs_ls() {
  const auto values = std::make_shared<FsValues>();
  auto command = make("fs ls", "List a directory of the sandbox", values, list);
  command.examples = "Examples:\n  sbx fs ls sbx-247bf1d3 /root\n  sbx fs ls -l sbx-247bf1d3 /tmp\n";
  auto path = path_option(*values, false);
  path.help += " (default /root)";
  command.options.push_back(std::move(path));
  command.options.push_back({.names = "--long,-l", .into = &values->long_form, .help = "Mode, owner, size and time as well"});
  return command;
}

Command fs_upload() {
  const auto values = std::make_shared<FsValues>();
  auto command = make("fs upload", "Copy a file or directory in, or unpack a tar from standard input", values, upload_tree);
  command.examples = "Examples:\n"
                     "  sbx fs upload sbx-247bf1d3 ./src /root/src            a directory; also single files\n"
                     "  sbx fs upload sbx-247bf1d3 data.csv /root/            keeps the name\n"
                     "  tar c -C ./src . | sbx fs upload sbx-247bf1d3 /root/src\n";
  command.options.push_back({.names = "PATH",
                             .into = &values->path,
                             .help = "With two paths: what to copy, of this host; with one: the directory inside",
                             .required = true,
                             .completes = Completes::files});
  command.options.push_back({.names = "TO", .into = &values->other, .help = "Path inside"});
  return command;
}

Command fs_download() {
  const auto values = std::make_shared<FsValues>();
  auto command = make("fs download", "Copy a file or directory out, or write it as a tar to standard output", values, download_tree);
  command.examples = "Examples:\n"
                     "  sbx fs download sbx-247bf1d3 /root/out ./out\n"
                     "  sbx fs download sbx-247bf1d3 /root/out.txt .          keeps the name\n"
                     "  sbx fs download sbx-247bf1d3 /root/src | tar t\n";
  command.options.push_back(path_option(*values));
  command.options.push_back({.names = "TO", .into = &values->other, .help = "Path on this host", .completes = Completes::files});
  return command;
}

}  // namespace sbx::commands
