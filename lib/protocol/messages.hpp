#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/wire.hpp"

/// What host and agent say to each other inside v2 streams: one request struct per method, the messages a running
/// stream may exchange, and the terminal record. Field numbers are the wire: append, never renumber.
/// Paths are bytes, not text: absolute, at most kMaxPath, without NUL. Times are nanoseconds since the Unix epoch,
/// durations milliseconds.
namespace sandbox::protocol {

inline constexpr std::size_t kMaxPath = 4095;
inline constexpr std::size_t kMaxArguments = 4096;        ///< argv entries, and environment entries
inline constexpr std::size_t kMaxRequest = 1 << 20;       ///< bytes of one OPEN or MESSAGE payload
inline constexpr std::uint64_t kDefaultMaxOutput = 1 << 20;  ///< bytes kept per output stream by a collecting exec

#define SANDBOX_FIELDS(...)                              \
  template <class Self, class Visit>                     \
  static constexpr void fields(Self& self, Visit&& visit) { __VA_ARGS__ }
#define SANDBOX_FIELD(number, member) visit(number, self.member);

/// Methods of v2. The channel column says which byte channels a stream of that method uses.
enum class Method : std::uint16_t {
  none = 0,
  exec = 1,          ///< ExecRequest; in: stdin, out: stdout (pty: both), err: stderr; messages both ways; ExecOutcome
  fs_read = 10,      ///< FsReadRequest; out: content; FsReadResult
  fs_write = 11,     ///< FsWriteRequest; in: content until fin; FsWriteResult
  fs_list = 12,      ///< FsPathRequest; FsEntries messages; empty result
  fs_stat = 13,      ///< FsPathRequest; FsEntry
  fs_remove = 14,    ///< FsRemoveRequest; empty
  fs_rename = 15,    ///< FsPairRequest; empty
  fs_mkdir = 16,     ///< FsMkdirRequest; empty
  fs_copy = 17,      ///< FsPairRequest; FsWriteResult
  fs_tar_in = 18,    ///< FsTarRequest; in: a tar stream (ustar/pax/GNU), until fin; FsTarResult
  fs_tar_out = 19,   ///< FsTarRequest; out: a pax tar stream; FsTarResult
  fs_find = 20,      ///< FsFindRequest; FsEntries messages; empty result
  fs_watch = 21,     ///< FsWatchRequest; FsEvents messages until cancelled
  fs_symlink = 22,   ///< FsPairRequest (from: target text, to: link path); empty
  fs_chmod = 23,     ///< FsChmodRequest; empty
  env_get = 30,      ///< EnvRequest; EnvEntries with none or one
  env_set = 31,      ///< EnvEntries; empty
  env_unset = 32,    ///< EnvRequest; empty
  env_list = 33,     ///< empty; EnvEntries
  session = 40,      ///< SessionRequest; in/out: the byte stream of a nested session with the same agent
};

struct KeyValue {
  std::string key, value;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, key) SANDBOX_FIELD(2, value))
  bool operator==(const KeyValue&) const = default;
};

/// First message each way. The agent's tells what it is and what it sees of its own confinement, so that the launcher's
/// side can compare it with the plan before anything untrusted has run.
struct Facts {
  std::uint64_t cap_effective = 0, cap_permitted = 0, cap_inheritable = 0, cap_bounding = 0, cap_ambient = 0;
  std::uint32_t seccomp_mode = 0;        ///< /proc/self/status "Seccomp:"; 2 = filter
  bool no_new_privs = false;
  std::uint32_t pid = 0;                 ///< getpid() inside; must be 1
  std::uint32_t uid = 0, gid = 0;        ///< inside
  std::vector<KeyValue> namespaces;      ///< "user" -> "user:[4026532…]", from /proc/self/ns
  std::vector<KeyValue> mounts;          ///< mount point -> "fstype options", from /proc/self/mountinfo
  std::vector<std::string> interfaces;   ///< network interface names
  std::vector<std::string> open_doors;   ///< ids of probes that should have failed and did not (see docs/ARCHITECTURE.md)
  bool dumpable = true;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, cap_effective) SANDBOX_FIELD(2, cap_permitted) SANDBOX_FIELD(3, cap_inheritable)
                 SANDBOX_FIELD(4, cap_bounding) SANDBOX_FIELD(5, cap_ambient) SANDBOX_FIELD(6, seccomp_mode)
                 SANDBOX_FIELD(7, no_new_privs) SANDBOX_FIELD(8, pid) SANDBOX_FIELD(9, uid) SANDBOX_FIELD(10, gid)
                 SANDBOX_FIELD(11, namespaces) SANDBOX_FIELD(12, mounts) SANDBOX_FIELD(13, interfaces)
                 SANDBOX_FIELD(14, open_doors) SANDBOX_FIELD(15, dumpable))
};

struct Hello {
  std::uint32_t version = 2;
  std::string software;                   ///< "sandbox-agent/0.1.0"
  std::string session_id;                 ///< 16 random bytes, chosen by the agent; names the session when resuming
  std::uint64_t window = 0;               ///< initial credit of each channel towards the sender of this hello, bytes
  std::uint32_t max_frame = 0;            ///< largest frame payload its sender accepts
  bool resumable = false;                 ///< sender keeps unacknowledged frames for a resume
  std::vector<std::string> capabilities;  ///< "zstd", …
  std::optional<Facts> facts;             ///< agent's first session only
  SANDBOX_FIELDS(SANDBOX_FIELD(1, version) SANDBOX_FIELD(2, software) SANDBOX_FIELD(3, session_id)
                 SANDBOX_FIELD(4, window) SANDBOX_FIELD(5, max_frame) SANDBOX_FIELD(6, resumable)
                 SANDBOX_FIELD(7, capabilities) SANDBOX_FIELD(8, facts))
};

/// Payload of OPEN.
struct Open {
  Method method = Method::none;
  std::string params;            ///< encoded request of the method
  std::string idempotency_key;   ///< at most 64 bytes; a second OPEN with the same key gets the first one's outcome
  SANDBOX_FIELDS(SANDBOX_FIELD(1, method) SANDBOX_FIELD(2, params) SANDBOX_FIELD(3, idempotency_key))
};

/// Payload of END: the terminal record of a stream. `code` 0 is success with `result`; otherwise an ErrorCode.
struct End {
  std::uint16_t code = 0;
  std::string message;
  std::string operation;
  std::int32_t sys_errno = 0;
  std::string result;            ///< encoded result of the method
  SANDBOX_FIELDS(SANDBOX_FIELD(1, code) SANDBOX_FIELD(2, message) SANDBOX_FIELD(3, operation)
                 SANDBOX_FIELD(4, sys_errno) SANDBOX_FIELD(5, result))
};

// ---- exec -----------------------------------------------------------------------------------------------------------

struct WindowSize {
  std::uint16_t rows = 24, columns = 80;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, rows) SANDBOX_FIELD(2, columns))
  bool operator==(const WindowSize&) const = default;
};

struct ExecRequest {
  std::vector<std::string> argv;       ///< program and arguments; empty when `shell` is set
  std::string shell;                   ///< run by /bin/sh -c; empty when `argv` is set
  std::vector<KeyValue> env;           ///< on top of the agent's environment
  bool clear_env = false;              ///< start from an empty environment instead
  std::string workdir;                 ///< absolute; empty: the sandbox's default
  std::uint64_t timeout_ms = 0;        ///< 0: none; measured from start, then the whole group gets SIGKILL
  std::uint64_t max_output = 0;        ///< bytes forwarded per output channel, the rest is dropped and counted; 0: unlimited
  bool stdin_open = false;             ///< channel `in` feeds stdin until fin; otherwise stdin is /dev/null
  std::optional<WindowSize> pty;       ///< run on a terminal of this size
  std::string term;                    ///< TERM when `pty`; default xterm-256color
  bool merge_stderr = false;           ///< stderr goes to channel `out` too
  SANDBOX_FIELDS(SANDBOX_FIELD(1, argv) SANDBOX_FIELD(2, shell) SANDBOX_FIELD(3, env) SANDBOX_FIELD(4, clear_env)
                 SANDBOX_FIELD(5, workdir) SANDBOX_FIELD(6, timeout_ms) SANDBOX_FIELD(7, max_output)
                 SANDBOX_FIELD(8, stdin_open) SANDBOX_FIELD(9, pty) SANDBOX_FIELD(10, term)
                 SANDBOX_FIELD(11, merge_stderr))
};

/// Client to agent on a running exec.
struct ExecControl {
  std::uint32_t signal = 0;            ///< send this signal to the process group
  std::optional<WindowSize> resize;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, signal) SANDBOX_FIELD(2, resize))
};

/// Agent to client, once, before any output.
struct ExecStarted {
  std::uint32_t pid = 0;               ///< inside the sandbox
  SANDBOX_FIELDS(SANDBOX_FIELD(1, pid))
};

/// How the program ended, as seen by the agent that waited for it.
enum class ExitCause : std::uint8_t {
  none = 0,
  exited = 1,           ///< `exit_code`
  signalled = 2,        ///< `signal`, sent by something inside the sandbox or by the program itself
  timed_out = 3,        ///< ran past `timeout_ms`; we killed its group
  out_of_memory = 4,    ///< the kernel killed it because the sandbox reached its memory limit
  limit_hit = 5,        ///< SIGXCPU, SIGXFSZ or SIGSYS; `signal` says which
  cancelled = 6,        ///< the caller cancelled or killed it through this stream
};

struct ExecOutcome {
  ExitCause cause = ExitCause::none;
  std::uint32_t exit_code = 0;
  std::uint32_t signal = 0;            ///< the signal that ended it, whatever the cause
  bool core_dumped = false;
  std::uint64_t out_total = 0, err_total = 0;      ///< bytes the program wrote
  std::uint64_t out_dropped = 0, err_dropped = 0;  ///< of these, not forwarded because of max_output
  std::uint64_t wall_ns = 0, user_ns = 0, system_ns = 0;
  std::uint64_t max_rss_kib = 0;
  std::uint32_t oom_kills = 0;         ///< OOM kills in the sandbox while it ran
  SANDBOX_FIELDS(SANDBOX_FIELD(1, cause) SANDBOX_FIELD(2, exit_code) SANDBOX_FIELD(3, signal)
                 SANDBOX_FIELD(4, core_dumped) SANDBOX_FIELD(5, out_total) SANDBOX_FIELD(6, err_total)
                 SANDBOX_FIELD(7, out_dropped) SANDBOX_FIELD(8, err_dropped) SANDBOX_FIELD(9, wall_ns)
                 SANDBOX_FIELD(10, user_ns) SANDBOX_FIELD(11, system_ns) SANDBOX_FIELD(12, max_rss_kib)
                 SANDBOX_FIELD(13, oom_kills))
};

// ---- fs -------------------------------------------------------------------------------------------------------------

enum class FileType : std::uint8_t { unknown = 0, regular = 1, directory = 2, symlink = 3, fifo = 4, socket = 5, character = 6, block = 7 };

struct FsPathRequest {
  std::string path;
  bool follow = true;                  ///< stat: follow a final symlink
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, follow))
};
struct FsReadRequest {
  std::string path;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;  ///< at most this many bytes; none: to the end
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, offset) SANDBOX_FIELD(3, length))
};
struct FsReadResult {
  std::uint64_t size = 0;              ///< bytes sent
  SANDBOX_FIELDS(SANDBOX_FIELD(1, size))
};
struct FsWriteRequest {
  std::string path;
  bool append = false;                 ///< add to the end instead of replacing atomically
  bool exclusive = false;              ///< fail with already_exists when there is one
  bool make_parents = false;           ///< create missing directories
  std::uint32_t mode = 0;              ///< permission bits; 0: 0644, or the existing file's
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, append) SANDBOX_FIELD(3, exclusive)
                 SANDBOX_FIELD(4, make_parents) SANDBOX_FIELD(5, mode))
};
struct FsWriteResult {
  std::uint64_t size = 0;              ///< bytes written (copied)
  SANDBOX_FIELDS(SANDBOX_FIELD(1, size))
};
struct FsEntry {
  std::string path;                    ///< list: name only; find: path below the root; stat: as asked
  FileType type = FileType::unknown;
  std::uint64_t size = 0;
  std::uint32_t mode = 0;              ///< permission bits with setuid/setgid/sticky
  std::uint32_t uid = 0, gid = 0;
  std::int64_t modified_ns = 0;
  std::string target;                  ///< of a symlink
  std::uint64_t links = 0;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, type) SANDBOX_FIELD(3, size) SANDBOX_FIELD(4, mode)
                 SANDBOX_FIELD(5, uid) SANDBOX_FIELD(6, gid) SANDBOX_FIELD(7, modified_ns) SANDBOX_FIELD(8, target)
                 SANDBOX_FIELD(9, links))
};
/// Batches of at most 256 entries and about 64 KiB.
struct FsEntries {
  std::vector<FsEntry> entries;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, entries))
};
struct FsRemoveRequest {
  std::string path;
  bool recursive = false;
  bool missing_ok = false;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, recursive) SANDBOX_FIELD(3, missing_ok))
};
struct FsMkdirRequest {
  std::string path;
  bool parents = false;                ///< create missing parents; an existing directory is fine
  std::uint32_t mode = 0;              ///< 0: 0755
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, parents) SANDBOX_FIELD(3, mode))
};
struct FsPairRequest {
  std::string from, to;
  bool recursive = false;              ///< copy: whole directories
  bool replace = true;                 ///< rename: an existing target may be replaced
  SANDBOX_FIELDS(SANDBOX_FIELD(1, from) SANDBOX_FIELD(2, to) SANDBOX_FIELD(3, recursive) SANDBOX_FIELD(4, replace))
};
struct FsChmodRequest {
  std::string path;
  std::uint32_t mode = 0;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, mode))
};
struct FsTarRequest {
  std::string path;                    ///< in: directory to extract into (created); out: directory or file to pack
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path))
};
struct FsTarResult {
  std::uint64_t entries = 0, bytes = 0;
  std::vector<std::string> skipped;    ///< members not extracted or packed (devices, sockets), at most 64 names
  SANDBOX_FIELDS(SANDBOX_FIELD(1, entries) SANDBOX_FIELD(2, bytes) SANDBOX_FIELD(3, skipped))
};
struct FsFindRequest {
  std::string root;
  std::string pattern;                 ///< glob relative to root: * ? [..] and ** across directories; empty: everything
  std::optional<FileType> type;
  std::uint32_t max_depth = 0;         ///< 0: no limit
  std::uint64_t max_results = 0;       ///< 0: no limit; reaching it ends the search with success
  SANDBOX_FIELDS(SANDBOX_FIELD(1, root) SANDBOX_FIELD(2, pattern) SANDBOX_FIELD(3, type) SANDBOX_FIELD(4, max_depth)
                 SANDBOX_FIELD(5, max_results))
};
struct FsWatchRequest {
  std::string path;
  bool recursive = true;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, recursive))
};
enum class FsEventKind : std::uint8_t { none = 0, created = 1, modified = 2, removed = 3, renamed = 4, attributes = 5,
                                        overflow = 6,  ///< events were lost; rescan
                                        ready = 7 };   ///< watches are in place; first event of every watch
struct FsEvent {
  FsEventKind kind = FsEventKind::none;
  std::string path;                    ///< absolute
  std::string old_path;                ///< renamed only
  FileType type = FileType::unknown;   ///< regular or directory where known
  SANDBOX_FIELDS(SANDBOX_FIELD(1, kind) SANDBOX_FIELD(2, path) SANDBOX_FIELD(3, old_path) SANDBOX_FIELD(4, type))
};
struct FsEvents {
  std::vector<FsEvent> events;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, events))
};

// ---- env, nested sessions -------------------------------------------------------------------------------------------

struct EnvRequest {
  std::string name;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, name))
};
struct EnvEntries {
  std::vector<KeyValue> entries;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, entries))
};
struct SessionRequest {
  std::string dialect;                 ///< "v2" or "v1"
  bool resumed = false;                ///< v1: the client comes back to a sandbox that waited for it: replay what was kept
  std::uint32_t keep_ms = 0;           ///< v2, resumable: how long the session outlives this stream
  std::string sandbox;                 ///< v1: what the client calls this sandbox; said in session.resumed
  SANDBOX_FIELDS(SANDBOX_FIELD(1, dialect) SANDBOX_FIELD(2, resumed) SANDBOX_FIELD(3, keep_ms) SANDBOX_FIELD(4, sandbox))
};
struct Empty {
  SANDBOX_FIELDS((void)self; (void)visit;)
};

}  // namespace sandbox::protocol
