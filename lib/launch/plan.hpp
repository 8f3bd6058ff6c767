#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

#include "protocol/messages.hpp"
#include "protocol/wire.hpp"

/// What the native backend (host) and sandbox-launcher say to each other: one SOCK_SEQPACKET packet per request and per
/// reply, protobuf wire format, descriptors by SCM_RIGHTS. Requests carry a number and may overlap; replies come in any
/// order. Both ends validate; the launcher ends the session on anything its table of requests does not permit.
///
/// Beside the control socket there is one for notes: requests without an answer that nobody is woken for. The launcher reads
/// them before it does what comes next: another request, or what the end of its owner asks for. (ADR 0016.)
namespace sandbox::launch {

inline constexpr std::size_t kMaxMessage = 192 << 10;     ///< bytes of one packet; below the default socket buffer
inline constexpr std::size_t kMaxTreeEntries = 4096;
inline constexpr std::size_t kMaxLayers = 64;
inline constexpr std::size_t kMaxFilter = 4096;           ///< BPF instructions (BPF_MAXINSNS)
inline constexpr std::size_t kMaxEnvironment = 64 << 10;  ///< bytes of all variables together
inline constexpr std::size_t kMaxRecipes = 1024;
inline constexpr std::uint32_t kIdsPerSandbox = 65536;
inline constexpr std::size_t kMaxRecord = 128 << 10;      ///< bytes of a committed sandbox's record: environment, labels
inline constexpr std::uint32_t kMaxOrphanMs = 24u * 3600 * 1000;

enum class Kind : std::uint8_t {
  none = 0,
  configure = 1,   ///< Configure + [agent, notes]; Configured. First, and once per control connection
  prepare = 2,     ///< LaunchPlan; Prepared
  drop = 3,        ///< Drop; empty. Sandboxes made from it live on
  create = 4,      ///< Create; Created + [stream, pidfd]
  destroy = 5,     ///< Target; empty, when everything is gone. Also for a sandbox that ended by itself
  outcome = 6,     ///< Target; Outcome, once the sandbox has ended
  stats = 7,       ///< Target; Stats
  freeze = 8,      ///< Freeze; empty
  thaw = 9,        ///< Target; empty
  connect = 10,    ///< Port; empty + [socket]
  listening = 11,  ///< Port; Listening
  writable = 12,   ///< Target; Writable + [directory]
  ping = 13,       ///< empty; empty
  persist = 14,    ///< Persist + [listening socket]; empty. Once, before the first recipe
  commit = 15,     ///< Commit; empty. From now on the sandbox outlives the control connection. May be a note
  list = 16,       ///< List; Listed: the committed sandboxes
  adopt = 17,      ///< Target; empty + [stream, pidfd]. The agent drops its client for the new stream
  forget = 18,     ///< empty; empty. Nothing is committed any more: everything ends with the control connection
};

struct Request {
  std::uint64_t number = 0;      ///< of the caller's choice; the reply carries it. 0: no reply is wanted
  Kind kind = Kind::none;
  std::string body;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, number) SANDBOX_FIELD(2, kind) SANDBOX_FIELD(3, body))
};

struct Reply {
  std::uint64_t number = 0;
  std::uint16_t code = 0;        ///< 0: success with `body`; otherwise an ErrorCode
  std::int32_t sys_errno = 0;
  std::string operation;         ///< "native.mount"
  std::string message;
  std::string body;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, number) SANDBOX_FIELD(2, code) SANDBOX_FIELD(3, sys_errno) SANDBOX_FIELD(4, operation)
                 SANDBOX_FIELD(5, message) SANDBOX_FIELD(6, body))
};

struct Configure {
  std::uint32_t namespace_backlog = 8;   ///< network namespaces kept ready
  std::uint32_t cgroup_backlog = 8;      ///< cgroup sets kept ready
  std::uint32_t bridge_address = 0;      ///< IPv4 network of Network::bridge, host byte order; prefix 0: the launcher chooses
  std::uint8_t bridge_prefix = 0;
  bool bridge_may_forward = true;        ///< may switch forwarding on (BridgeConfig::may_enable_forwarding)
  std::string lock_directory;            ///< where id ranges are locked; empty: /run/sandbox
  bool benchmark_without_network_namespace = false;   ///< NativeOptions
  std::string build;                     ///< protocol::build_id() of the library; another one than the launcher's is refused
  SANDBOX_FIELDS(SANDBOX_FIELD(1, namespace_backlog) SANDBOX_FIELD(2, cgroup_backlog) SANDBOX_FIELD(3, bridge_address)
                 SANDBOX_FIELD(4, bridge_prefix) SANDBOX_FIELD(5, bridge_may_forward) SANDBOX_FIELD(6, lock_directory)
                 SANDBOX_FIELD(7, benchmark_without_network_namespace) SANDBOX_FIELD(8, build))
};

struct Configured {
  std::uint32_t pid = 0;
  bool rootless = false;
  std::uint32_t landlock_abi = 0;        ///< 0: none
  bool idmap = false;                    ///< image trees are shown with root as owner
  std::vector<std::string> enforced;     ///< limits and locks, one word each
  std::vector<std::string> unenforced;   ///< "memory: why"
  std::string build;                     ///< protocol::build_id() of the launcher
  SANDBOX_FIELDS(SANDBOX_FIELD(1, pid) SANDBOX_FIELD(2, rootless) SANDBOX_FIELD(3, landlock_abi) SANDBOX_FIELD(4, idmap)
                 SANDBOX_FIELD(5, enforced) SANDBOX_FIELD(6, unenforced) SANDBOX_FIELD(7, build))
};

/// Makes the launcher outlive its control connection: it then waits at the listening socket for another one, of the same
/// user, while at least one committed sandbox lives or has ended unread. Whatever was not committed ends at once.
struct Persist {
  std::string path;                      ///< absolute; of the listening socket, which the launcher unlinks when it ends
  std::uint32_t orphan_ms = 600'000;     ///< without a control connection for so long: everything is killed
  SANDBOX_FIELDS(SANDBOX_FIELD(1, path) SANDBOX_FIELD(2, orphan_ms))
};

enum class EntryKind : std::uint8_t {
  none = 0,
  directory = 1,   ///< empty
  symlink = 2,     ///< to `source`, verbatim
  file = 3,        ///< with content `source`
  copy = 4,        ///< of the host file or directory `source` as it is now; a missing one is skipped
  bind = 5,        ///< the host directory `source`, read-only, as a mount
};

/// One entry of a composed root. In order: parents first.
struct TreeEntry {
  EntryKind kind = EntryKind::none;
  std::string path;                ///< relative to the new root, no "." or ".." parts
  std::string source;
  std::uint32_t mode = 0;          ///< 0: 0755 for directories, 0644 for files
  SANDBOX_FIELDS(SANDBOX_FIELD(1, kind) SANDBOX_FIELD(2, path) SANDBOX_FIELD(3, source) SANDBOX_FIELD(4, mode))
};

/// The read-only root: composed entries, host directories as layers, or layers on top of composed entries.
struct Tree {
  std::vector<TreeEntry> entries;
  std::vector<std::string> layers;  ///< absolute host directories, lowest first
  SANDBOX_FIELDS(SANDBOX_FIELD(1, entries) SANDBOX_FIELD(2, layers))
};

enum class NetworkMode : std::uint8_t { none = 0, bridge = 1 };

/// Everything about a kind of sandbox, flat. Sent once per recipe; a Create then names it.
struct LaunchPlan {
  std::uint32_t recipe = 0;              ///< number chosen by the host
  Tree tree;
  std::string scratch_layer;             ///< host directory with root/ tmp/ shm/ upper/ to start from; empty: none
  bool writable_root = false;
  std::string hostname;
  std::string workdir;                   ///< absolute, inside
  std::vector<std::string> environment;  ///< "NAME=value" of the agent
  NetworkMode network = NetworkMode::none;
  std::uint64_t memory = 0;              ///< bytes
  std::uint32_t cpu_quota = 0;           ///< µs per 100 ms
  std::uint32_t pids = 0;
  std::uint32_t open_files = 0;
  std::uint64_t disk = 0;                ///< bytes
  std::uint64_t inodes = 0;
  std::string filter;                    ///< struct sock_filter[], as the kernel takes it
  bool allow_unenforced = false;
  std::vector<std::string> pinned;       ///< host directories on which a sandbox of a persistent launcher holds a shared flock(2)
  SANDBOX_FIELDS(SANDBOX_FIELD(1, recipe) SANDBOX_FIELD(2, tree) SANDBOX_FIELD(3, scratch_layer)
                 SANDBOX_FIELD(4, writable_root) SANDBOX_FIELD(5, hostname) SANDBOX_FIELD(6, workdir)
                 SANDBOX_FIELD(7, environment) SANDBOX_FIELD(8, network) SANDBOX_FIELD(9, memory)
                 SANDBOX_FIELD(10, cpu_quota) SANDBOX_FIELD(11, pids) SANDBOX_FIELD(12, open_files)
                 SANDBOX_FIELD(13, disk) SANDBOX_FIELD(14, inodes) SANDBOX_FIELD(15, filter)
                 SANDBOX_FIELD(16, allow_unenforced) SANDBOX_FIELD(17, pinned))
};

struct Prepared {
  std::vector<std::string> unenforced;   ///< limits of this plan that do not hold here; empty unless allow_unenforced
  std::vector<std::string> mounts;       ///< mount points the sandbox will see, sorted
  SANDBOX_FIELDS(SANDBOX_FIELD(1, unenforced) SANDBOX_FIELD(2, mounts))
};

struct Drop {
  std::uint32_t recipe = 0;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, recipe))
};

struct Create {
  std::uint32_t recipe = 0;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, recipe))
};

struct Created {
  std::uint64_t id = 0;                  ///< of the sandbox, in this launcher
  std::uint32_t pid = 0;                 ///< of its process 1, in the launcher's pid namespace
  std::uint32_t first_id = 0;            ///< host id of uid 0 inside
  std::uint32_t address = 0;             ///< bridge: IPv4, host byte order
  std::uint32_t gateway = 0;
  std::vector<std::uint32_t> timings;    ///< µs since the request was read: resources taken, child cloned, child told to go
  SANDBOX_FIELDS(SANDBOX_FIELD(1, id) SANDBOX_FIELD(2, pid) SANDBOX_FIELD(3, first_id) SANDBOX_FIELD(4, address)
                 SANDBOX_FIELD(5, gateway) SANDBOX_FIELD(6, timings))
};

struct Target {
  std::uint64_t id = 0;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, id))
};

struct Freeze {
  std::uint64_t id = 0;
  bool briefly = false;                  ///< for something the asker does at once: should it die meanwhile, the sandbox goes on
  SANDBOX_FIELDS(SANDBOX_FIELD(1, id) SANDBOX_FIELD(2, briefly))
};

struct Port {
  std::uint64_t id = 0;
  std::uint16_t port = 0;
  std::uint32_t timeout_ms = 0;          ///< connect: how long a connection may be in progress
  SANDBOX_FIELDS(SANDBOX_FIELD(1, id) SANDBOX_FIELD(2, port) SANDBOX_FIELD(3, timeout_ms))
};

struct Listening {
  bool listening = false;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, listening))
};

/// How a sandbox ended.
struct Outcome {
  std::string operation, message;        ///< step that failed before the agent ran; empty when it ran
  std::int32_t sys_errno = 0;
  std::uint32_t exit_code = 0, signal = 0;
  std::uint64_t oom_kills = 0;
  std::vector<std::uint32_t> timings;    ///< µs from clone to the end of each step of the child (Step in the launcher)
  SANDBOX_FIELDS(SANDBOX_FIELD(1, operation) SANDBOX_FIELD(2, message) SANDBOX_FIELD(3, sys_errno)
                 SANDBOX_FIELD(4, exit_code) SANDBOX_FIELD(5, signal) SANDBOX_FIELD(6, oom_kills) SANDBOX_FIELD(7, timings))
};

struct Stats {
  std::uint64_t memory_current = 0, memory_peak = 0, cpu_ns = 0, oom_kills = 0;
  std::uint32_t pids_current = 0;
  std::uint64_t disk_used = 0, inodes_used = 0;
  std::uint64_t rx_bytes = 0, tx_bytes = 0;
  std::vector<std::uint32_t> timings;    ///< as in Outcome
  SANDBOX_FIELDS(SANDBOX_FIELD(1, memory_current) SANDBOX_FIELD(2, memory_peak) SANDBOX_FIELD(3, cpu_ns)
                 SANDBOX_FIELD(4, oom_kills) SANDBOX_FIELD(5, pids_current) SANDBOX_FIELD(6, disk_used)
                 SANDBOX_FIELD(7, inodes_used) SANDBOX_FIELD(8, rx_bytes) SANDBOX_FIELD(9, tx_bytes)
                 SANDBOX_FIELD(10, timings))
};

struct Commit {
  std::uint64_t id = 0;
  std::string record;                    ///< whatever the adopter needs to know of it; replaces an earlier one
  SANDBOX_FIELDS(SANDBOX_FIELD(1, id) SANDBOX_FIELD(2, record))
};

struct List {
  std::uint64_t after = 0;               ///< sandboxes with greater ids only
  SANDBOX_FIELDS(SANDBOX_FIELD(1, after))
};

/// A committed sandbox, as its next owner finds it.
struct Adoptable {
  std::uint64_t id = 0;
  std::uint32_t pid = 0, first_id = 0, address = 0, gateway = 0;   ///< as in Created
  std::string record;                    ///< of its latest Commit
  bool frozen = false;                   ///< its agent answers only after a thaw
  bool ended = false;                    ///< by itself; `outcome` tells how
  Outcome outcome;
  std::uint64_t age_ms = 0;              ///< since its creation
  SANDBOX_FIELDS(SANDBOX_FIELD(1, id) SANDBOX_FIELD(2, pid) SANDBOX_FIELD(3, first_id) SANDBOX_FIELD(4, address)
                 SANDBOX_FIELD(5, gateway) SANDBOX_FIELD(6, record) SANDBOX_FIELD(7, frozen) SANDBOX_FIELD(8, ended)
                 SANDBOX_FIELD(9, outcome) SANDBOX_FIELD(10, age_ms))
};

struct Listed {
  std::vector<Adoptable> sandboxes;      ///< ascending ids, as many as fit in a packet
  bool more = false;                     ///< ask again after the last one
  SANDBOX_FIELDS(SANDBOX_FIELD(1, sandboxes) SANDBOX_FIELD(2, more))
};

struct Writable {
  std::uint32_t first_id = 0;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, first_id))
};

/// Whether the launcher takes it. Errors: invalid_argument naming the field.
Result<void> validate(const LaunchPlan& plan);
Result<void> validate(const Persist& persist);
Result<void> validate(const Commit& commit);
/// A relative path of plain components: no empty, "." or ".." part, no NUL, at most protocol::kMaxPath bytes.
bool is_plain_relative(std::string_view path) noexcept;

/// failed_precondition for a `program` that is of another build (protocol::build_id()) than this one.
Error build_mismatch(std::string_view program, std::string_view theirs);

/// Errors as a reply and back.
Reply failure(std::uint64_t number, const Error& error);
Error error_of(const Reply& reply);

}  // namespace sandbox::launch
