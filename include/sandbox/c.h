/* The C interface of Sandbox: everything the C++ handles do, for C and for the bindings built on it.
 *
 * Conventions
 *  - A function that can fail returns sbx_code: SBX_OK (0), or the code of *err. Out parameters are null or zero then.
 *    `err` may be null; otherwise it receives an error that the caller owns (sbx_error_free). No thread-local state.
 *  - Handles are opaque and owned by the caller; sbx_x_free(&h) accepts null and leaves null. A null handle given to any
 *    other function is SBX_INVALID_ARGUMENT.
 *  - What a function returns as sbx_view is borrowed from the handle it was asked of and ends with a NUL that does not
 *    count. What it returns as sbx_bytes is owned.
 *  - Strings go in as sbx_view: pointer and length, UTF-8 or plain bytes, no NUL needed; SBX_STR("…") for literals. They are
 *    copied before the call returns, as is everything else an argument points to.
 *  - Handles may be used by several threads at once, except while being freed. Processes, readers, writers, watches and
 *    event streams take one read and one write at a time.
 *  - Structs with options or results begin with struct_size: set it with the _INIT macro. They only grow at the end.
 *  - Times are milliseconds where they go in (zero: the documented default) and nanoseconds where they come out.
 *
 * Waiting
 *  - f(…) blocks. f_start(…) begins the same work and returns an sbx_op at once: never null but when memory is out; also
 *    bad arguments are told by its result. Take the result once with the sbx_op_take_… that the function names.
 *  - Ops end in any order. Wait for one (sbx_op_wait), poll its own descriptor (sbx_op_fd), or have many of them report to
 *    one sbx_queue, whose single descriptor fits epoll, libuv, asyncio or Go's poller. No callback is made, on any thread,
 *    and no thread is made per operation.
 *  - The answer to a short question to a sandbox may be there when _start returns (sbx_op_done): while few ops are under way
 *    and answers have come that fast lately, the calling thread waits for it, 100 µs or so at most, which saves thread switches.
 *  - Freeing an op cancels it if it still runs, and drops its result; a sandbox in a dropped result is destroyed.
 *
 * fork(): a child of a process that has opened a runtime, client or queue cannot use the library: every call there fails at
 * once with SBX_FAILED_PRECONDITION, and freeing handles ends nothing of the parent's. Start a program of its own (exec,
 * posix_spawn), or fork before. Until such a child ends or execs it holds copies of the library's descriptors: sandboxes of a
 * parent that dies are ended only then.
 *
 * Stability: everything here is stable since 0.1 unless marked "unstable". Only this header promises a binary interface. */
#ifndef SANDBOX_C_H
#define SANDBOX_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SBX_API __attribute__((visibility("default")))
#else
#define SBX_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values ---------------------------------------------------------------------------------------------------------- */

/* What the caller should do about a failure; the numbers of sandbox::ErrorCode. Append-only. */
typedef enum sbx_code {
  SBX_OK = 0,
  SBX_INVALID_ARGUMENT = 1,    /* the call itself is wrong; fix it */
  SBX_NOT_FOUND = 2,
  SBX_ALREADY_EXISTS = 3,
  SBX_PERMISSION_DENIED = 4,
  SBX_UNAUTHENTICATED = 5,
  SBX_RESOURCE_EXHAUSTED = 6,  /* a limit, quota or the host is full */
  SBX_FAILED_PRECONDITION = 7, /* right call, wrong state (closed, paused, no such kernel feature) */
  SBX_UNAVAILABLE = 8,         /* the other side is gone or not up yet */
  SBX_DEADLINE_EXCEEDED = 9,
  SBX_CANCELLED = 10,
  SBX_UNSUPPORTED = 11,
  SBX_PROTOCOL = 12,
  SBX_CORRUPT = 13,
  SBX_INTERNAL = 14 /* our bug; please report */
} sbx_code;

/* Bytes or text that somebody else owns. Null with size 0 is the empty string. */
typedef struct sbx_view {
  const char *data;
  size_t size;
} sbx_view;

#ifdef __cplusplus
#define SBX_STR(literal) (sbx_view{"" literal, sizeof(literal) - 1})
#else
#define SBX_STR(literal) ((sbx_view){"" literal, sizeof(literal) - 1})
#endif

typedef struct sbx_pair {
  sbx_view name;
  sbx_view value;
} sbx_pair;

typedef struct sbx_error sbx_error;
typedef struct sbx_bytes sbx_bytes;         /* owned bytes: file content, output, text, JSON */
typedef struct sbx_runtime sbx_runtime;     /* sandboxes of this process */
typedef struct sbx_client sbx_client;       /* sandboxes of a daemon */
typedef struct sbx_sandbox sbx_sandbox;
typedef struct sbx_process sbx_process;     /* a running program */
typedef struct sbx_exec_result sbx_exec_result;
typedef struct sbx_reader sbx_reader;       /* a file, or a directory as tar, on its way out */
typedef struct sbx_writer sbx_writer;       /* … on its way in */
typedef struct sbx_file_list sbx_file_list;
typedef struct sbx_env_list sbx_env_list;
typedef struct sbx_port_list sbx_port_list;
typedef struct sbx_watch sbx_watch;         /* changes of files */
typedef struct sbx_events sbx_events;       /* events of a runtime or daemon */
typedef struct sbx_op sbx_op;               /* work under way */
typedef struct sbx_queue sbx_queue;         /* where ops report that they ended */

/* "0.1.0", the library's own. */
SBX_API const char *sbx_version(void);
/* "not_found", …; "unknown" for other numbers. Never null. */
SBX_API const char *sbx_code_name(sbx_code code);

SBX_API sbx_view sbx_bytes_view(const sbx_bytes *bytes);
SBX_API void sbx_bytes_free(sbx_bytes **bytes);

/* ---- errors ---------------------------------------------------------------------------------------------------------- */

/* Whether doing the same again can help. */
typedef enum sbx_retry { SBX_RETRY_NEVER = 0, SBX_RETRY_NOW = 1, SBX_RETRY_AFTER_BACKOFF = 2 } sbx_retry;

SBX_API sbx_code sbx_error_code(const sbx_error *error);
/* One line for people; text that came from inside a sandbox has its control bytes escaped. */
SBX_API sbx_view sbx_error_message(const sbx_error *error);
/* The dotted step that failed, "native.mount", or empty. */
SBX_API sbx_view sbx_error_operation(const sbx_error *error);
/* All of it in one line: operation, message, code. */
SBX_API sbx_view sbx_error_text(const sbx_error *error);
/* errno of the system call that failed, or 0. */
SBX_API int sbx_error_errno(const sbx_error *error);
SBX_API sbx_retry sbx_error_retry(const sbx_error *error);
SBX_API void sbx_error_free(sbx_error **error);

/* ---- work under way -------------------------------------------------------------------------------------------------- */

/* Whether the op has ended. Cheap, no system call. */
SBX_API int sbx_op_done(const sbx_op *op);
/* Blocks until the op has ended; timeout_ms < 0: for ever. SBX_DEADLINE_EXCEEDED: still under way, nothing was changed. */
SBX_API sbx_code sbx_op_wait(sbx_op *op, int64_t timeout_ms, sbx_error **err);
/* Asks the op to end. It still ends exactly once, mostly with SBX_CANCELLED; what state remains, its C++ form says. Work
 * that cannot be stopped midway (transfers of whole directories, connections to ports, templates, requests to a daemon) ends
 * the op at once and runs out behind it; what it then brings is given back. */
SBX_API void sbx_op_cancel(sbx_op *op);
/* An eventfd that is readable from the end of the op on. Borrowed: poll it, do not read or close it. One descriptor per op
 * that is asked, so for many ops use a queue. */
SBX_API sbx_code sbx_op_fd(sbx_op *op, int *fd, sbx_error **err);
/* Has the op put itself with `tag` into `queue` when it ends, or now if it has. Once per op. The queue may be freed first. */
SBX_API sbx_code sbx_op_notify(sbx_op *op, sbx_queue *queue, uint64_t tag, sbx_error **err);
SBX_API void sbx_op_free(sbx_op **op);

SBX_API sbx_code sbx_queue_new(sbx_queue **queue, sbx_error **err);
/* One end of a stream socket pair, non-blocking: readable while ops are waiting to be taken from the queue. Borrowed; it
 * stays open as long as the queue. Read and throw away what is in it, then call sbx_queue_next until it returns less than
 * asked for. Dup it to give it to something that closes it. */
SBX_API int sbx_queue_fd(const sbx_queue *queue);
/* Takes up to `capacity` tags of ended ops, oldest first; returns how many. Thread-safe. */
SBX_API size_t sbx_queue_next(sbx_queue *queue, uint64_t *tags, size_t capacity);
SBX_API void sbx_queue_free(sbx_queue **queue);

/* The result of an ended op, once: SBX_FAILED_PRECONDITION while it runs or when it was taken, SBX_INVALID_ARGUMENT when it
 * is of another kind. The op itself is freed by sbx_op_free. */
SBX_API sbx_code sbx_op_take(sbx_op *op, sbx_error **err); /* of functions that only succeed or fail */
SBX_API sbx_code sbx_op_take_count(sbx_op *op, uint64_t *count, sbx_error **err);
SBX_API sbx_code sbx_op_take_bytes(sbx_op *op, sbx_bytes **bytes, sbx_error **err); /* *bytes null: there is none */

/* ---- what to run in: specs ------------------------------------------------------------------------------------------- */

typedef enum sbx_network { SBX_NETWORK_NONE = 0, SBX_NETWORK_BRIDGE = 1 } sbx_network;

/* What a sandbox is made of. All zero is the locked-down default; see sandbox::SandboxSpec and sandbox::Limits. */
typedef struct sbx_spec {
  size_t struct_size;
  sbx_view image;        /* "host" (default), "tpl-…", or a path to a directory or tar archive */
  uint64_t memory;       /* bytes; 0 in any limit: its default */
  double cpus;
  uint32_t pids;
  uint32_t open_files;   /* per process */
  uint64_t disk;         /* bytes in all writable directories */
  uint64_t inodes;
  sbx_network network;
  const sbx_pair *env;
  size_t env_size;
  sbx_view workdir;      /* default /root */
  sbx_view hostname;     /* default sandbox */
  int writable_root;
  sbx_view backend;      /* default native */
  sbx_view user;         /* pools are never shared between users */
  int sealed;            /* end to end: X25519, AES-256-GCM */
  int allow_unenforced_limits; /* weakens: create even where this host cannot enforce a limit */
} sbx_spec;
#define SBX_SPEC_INIT {sizeof(sbx_spec), {0, 0}, 0, 0, 0, 0, 0, 0, SBX_NETWORK_NONE, 0, 0, {0, 0}, {0, 0}, 0, {0, 0}, {0, 0}, 0, 0}

/* ---- the runtime: sandboxes of this process -------------------------------------------------------------------------- */

typedef struct sbx_warm {
  uint32_t count;
  const sbx_spec *spec; /* null: the default */
} sbx_warm;

typedef struct sbx_runtime_options {
  size_t struct_size;
  const sbx_warm *warm;      /* pools to keep ready */
  size_t warm_size;
  uint32_t max_warm;         /* default 64 */
  uint32_t max_sandboxes;    /* default 1000 */
  sbx_view state_directory;
  sbx_view helper_directory; /* of sandbox-launcher and sandbox-agent; default: $SANDBOX_BIN_DIR, else beside the library */
  uint32_t launchers;
  int persistent;
  int64_t orphan_time_ms;
  sbx_view require_proof;    /* path: opens only with this report of `sbx prove --report`, else SBX_FAILED_PRECONDITION */
  int64_t prune_after_ms;    /* unpacked layers unused for so long go in the background; default 7 days, < 0: never */
} sbx_runtime_options;
#define SBX_RUNTIME_OPTIONS_INIT {sizeof(sbx_runtime_options), 0, 0, 0, 0, {0, 0}, {0, 0}, 0, 0, 0, {0, 0}, 0}

typedef struct sbx_create_options {
  size_t struct_size;
  int64_t deadline_ms; /* for capacity and creation together; default 30 s */
  int cold;            /* do not take from the pool */
} sbx_create_options;
#define SBX_CREATE_OPTIONS_INIT {sizeof(sbx_create_options), 0, 0}

typedef struct sbx_prune_options {
  size_t struct_size;
  int64_t unused_for_ms; /* since the last use ended, rounded up to seconds; default 7 days, < 0: however short */
  int dry_run;           /* only tell */
} sbx_prune_options;
#define SBX_PRUNE_OPTIONS_INIT {sizeof(sbx_prune_options), 0, 0}

/* Starts the launchers and begins to fill the pools. `options` null: defaults. See sandbox::Runtime::open.
 * Result of _start: sbx_op_take_runtime. */
SBX_API sbx_code sbx_runtime_open(const sbx_runtime_options *options, sbx_runtime **runtime, sbx_error **err);
SBX_API sbx_op *sbx_runtime_open_start(const sbx_runtime_options *options);
SBX_API sbx_code sbx_op_take_runtime(sbx_op *op, sbx_runtime **runtime, sbx_error **err);
/* Destroys every sandbox and ends the launchers. Idempotent; handles stay valid and fail with SBX_FAILED_PRECONDITION.
 *
 * Mostly milliseconds, of which the kernel needs most. It waits for
 *  - sandboxes that are being made, for a caller or a pool: they are not stopped midway. At the latest their deadline ends
 *    that, 30 s for a pool's; an image that is being unpacked for one is unpacked to its end;
 *  - the end of all processes inside, which are killed, of up to eight sandboxes at a time; 10 s for each, which is the error
 *    SBX_DEADLINE_EXCEEDED then;
 *  - what goes on in the background: a connection to an exposed port, 2 s; at most eight old layers on their way out;
 *  - the launchers: 10 s for each, which is killed then.
 * An error is the first that came; everything else is closed all the same, and a later call is SBX_OK.
 *
 * Other threads may use the runtime, its sandboxes and their ops meanwhile; none of their calls is waited for but those that
 * make a sandbox. Calls on the runtime fail from now on, those on a sandbox once it is destroyed; what is under way on it ends
 * with SBX_CANCELLED, and creations that wait for capacity or sbx_runtime_wait_warm with SBX_UNAVAILABLE. A second close at the
 * same time waits for the first. Cancel: the op ends, the closing goes on. */
SBX_API sbx_code sbx_runtime_close(sbx_runtime *runtime, sbx_error **err);
SBX_API sbx_op *sbx_runtime_close_start(sbx_runtime *runtime);
/* Closes if it is still open, and waits as sbx_runtime_close does, also for one that is under way as an op; an error is dropped.
 * Other threads may use its sandboxes and ops meanwhile, as there, and free them afterwards, but not the runtime's handle. */
SBX_API void sbx_runtime_free(sbx_runtime **runtime);
/* `spec`, `options` null: defaults. The sandbox comes from the warm pool when one is ready. Result: sbx_op_take_sandbox. */
SBX_API sbx_code sbx_runtime_create(sbx_runtime *runtime, const sbx_spec *spec, const sbx_create_options *options,
                                    sbx_sandbox **sandbox, sbx_error **err);
SBX_API sbx_op *sbx_runtime_create_start(sbx_runtime *runtime, const sbx_spec *spec, const sbx_create_options *options);
/* Blocks until every pool holds its warm count. timeout_ms 0: 30 s. Result: sbx_op_take. */
SBX_API sbx_code sbx_runtime_wait_warm(sbx_runtime *runtime, int64_t timeout_ms, sbx_error **err);
SBX_API sbx_op *sbx_runtime_wait_warm_start(sbx_runtime *runtime, int64_t timeout_ms);
SBX_API sbx_code sbx_runtime_set_warm(sbx_runtime *runtime, const sbx_spec *spec, uint32_t count, sbx_error **err);
SBX_API sbx_op *sbx_runtime_set_warm_start(sbx_runtime *runtime, const sbx_spec *spec, uint32_t count);
/* Sandboxes handed out and alive. */
SBX_API sbx_code sbx_runtime_live(sbx_runtime *runtime, uint64_t *count, sbx_error **err);
/* JSON, in the forms of docs/PROTOCOL.md "Values as JSON": an array of pools, an array of templates, one template, the host
 * report. Result of _start: sbx_op_take_bytes, of remove_template and leave sbx_op_take. */
SBX_API sbx_code sbx_runtime_pools(sbx_runtime *runtime, sbx_bytes **json, sbx_error **err);
SBX_API sbx_code sbx_runtime_templates(sbx_runtime *runtime, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_runtime_templates_start(sbx_runtime *runtime);
SBX_API sbx_code sbx_runtime_find_template(sbx_runtime *runtime, sbx_view id, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_runtime_find_template_start(sbx_runtime *runtime, sbx_view id);
SBX_API sbx_code sbx_runtime_remove_template(sbx_runtime *runtime, sbx_view id, sbx_error **err);
SBX_API sbx_op *sbx_runtime_remove_template_start(sbx_runtime *runtime, sbx_view id);
SBX_API sbx_code sbx_runtime_host(sbx_runtime *runtime, sbx_bytes **json, sbx_error **err);
/* Of a persistent runtime: the next sandbox taken over from an earlier one; *sandbox null when there is none left. */
SBX_API sbx_code sbx_runtime_next_adopted(sbx_runtime *runtime, sbx_sandbox **sandbox, sbx_error **err);
/* Ends a persistent runtime and leaves its sandboxes for the next one. */
SBX_API sbx_code sbx_runtime_leave(sbx_runtime *runtime, sbx_error **err);
SBX_API sbx_op *sbx_runtime_leave_start(sbx_runtime *runtime);
/* Events from now on: see sbx_events_next. Does not wait. */
SBX_API sbx_code sbx_runtime_events(sbx_runtime *runtime, sbx_events **events, sbx_error **err);
/* Removes unpacked layers of the state directory that no template stands on and no sandbox or process uses, and tells which:
 * JSON, an array of pruned layers. `options` null: defaults. Result: sbx_op_take_bytes. Cancel: the removing runs out behind
 * the op. There is none for a daemon, which prunes its own layers by itself. */
SBX_API sbx_code sbx_runtime_prune(sbx_runtime *runtime, const sbx_prune_options *options, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_runtime_prune_start(sbx_runtime *runtime, const sbx_prune_options *options);

/* ---- the client: sandboxes of a daemon ------------------------------------------------------------------------------- */

typedef struct sbx_client_options {
  size_t struct_size;
  sbx_view token;            /* bearer token */
  sbx_view tenant;           /* name, with `tenant_seed`: sign requests */
  sbx_view tenant_seed;      /* Ed25519 private seed, 32 bytes */
  uint32_t tenant_max_concurrent;
  uint32_t tenant_max_ttl_s;
  uint32_t tenant_max_templates;
  sbx_view ca_file;
  int64_t timeout_ms;        /* of a request; default 30 s */
  int64_t reconnect_ms;      /* how long operations wait for a lost connection; default 30 s, < 0: not at all */
  int64_t heartbeat_ms;      /* default 5 s */
  int compress;
} sbx_client_options;
#define SBX_CLIENT_OPTIONS_INIT {sizeof(sbx_client_options), {0, 0}, {0, 0}, {0, 0}, 0, 0, 0, {0, 0}, 0, 0, 0, 0}

/* What to ask a daemon for. All empty: its default profile. */
typedef struct sbx_create_request {
  size_t struct_size;
  sbx_view profile;
  sbx_view template_id;
  const sbx_spec *spec;      /* in place of profile and template; null: none */
  uint64_t memory;           /* 0: as the profile says, also below */
  double cpus;
  uint64_t storage;
  int64_t ttl_s;             /* how long it outlives its last session; 0: not at all */
  const sbx_pair *labels;
  size_t labels_size;
  int sealed;
} sbx_create_request;
#define SBX_CREATE_REQUEST_INIT {sizeof(sbx_create_request), {0, 0}, {0, 0}, 0, 0, 0, 0, 0, 0, 0, 0}

typedef struct sbx_open_options {
  size_t struct_size;
  int sealed;
  sbx_view pin; /* "sha256:…" of the agent to accept; seals, too */
} sbx_open_options;
#define SBX_OPEN_OPTIONS_INIT {sizeof(sbx_open_options), 0, {0, 0}}

/* `endpoint`: "unix:///path", "http://host:port", "https://host:port"; empty: $SANDBOX_HOST, else the default socket.
 * Result of _start: sbx_op_take_client. */
SBX_API sbx_code sbx_client_connect(sbx_view endpoint, const sbx_client_options *options, sbx_client **client, sbx_error **err);
SBX_API sbx_op *sbx_client_connect_start(sbx_view endpoint, const sbx_client_options *options);
SBX_API sbx_code sbx_op_take_client(sbx_op *op, sbx_client **client, sbx_error **err);
SBX_API sbx_code sbx_client_close(sbx_client *client, sbx_error **err);
SBX_API sbx_op *sbx_client_close_start(sbx_client *client);
SBX_API void sbx_client_free(sbx_client **client);
/* Result: sbx_op_take_sandbox. */
SBX_API sbx_code sbx_client_create(sbx_client *client, const sbx_create_request *request, const sbx_create_options *options,
                                   sbx_sandbox **sandbox, sbx_error **err);
SBX_API sbx_op *sbx_client_create_start(sbx_client *client, const sbx_create_request *request, const sbx_create_options *options);
/* A sandbox that exists; freeing its handle does not destroy it. Result: sbx_op_take_sandbox. */
SBX_API sbx_code sbx_client_open(sbx_client *client, sbx_view id, const sbx_open_options *options, sbx_sandbox **sandbox,
                                 sbx_error **err);
SBX_API sbx_op *sbx_client_open_start(sbx_client *client, sbx_view id, const sbx_open_options *options);
SBX_API sbx_code sbx_client_remove(sbx_client *client, sbx_view id, sbx_error **err);
SBX_API sbx_op *sbx_client_remove_start(sbx_client *client, sbx_view id);

/* What a daemon keeps, as JSON in the forms of docs/PROTOCOL.md "Values as JSON". Result of _start: sbx_op_take_bytes, or sbx_op_take
 * for those without json. */
SBX_API sbx_code sbx_client_list(sbx_client *client, const sbx_pair *labels, size_t labels_size, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_list_start(sbx_client *client, const sbx_pair *labels, size_t labels_size);
SBX_API sbx_code sbx_client_find(sbx_client *client, sbx_view id, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_find_start(sbx_client *client, sbx_view id);
SBX_API sbx_code sbx_client_templates(sbx_client *client, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_templates_start(sbx_client *client);
SBX_API sbx_code sbx_client_find_template(sbx_client *client, sbx_view id, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_find_template_start(sbx_client *client, sbx_view id);
SBX_API sbx_code sbx_client_remove_template(sbx_client *client, sbx_view id, sbx_error **err);
SBX_API sbx_op *sbx_client_remove_template_start(sbx_client *client, sbx_view id);
SBX_API sbx_code sbx_client_profiles(sbx_client *client, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_profiles_start(sbx_client *client);
SBX_API sbx_code sbx_client_pools(sbx_client *client, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_pools_start(sbx_client *client);
SBX_API sbx_code sbx_client_set_warm(sbx_client *client, sbx_view profile, uint32_t count, sbx_error **err);
SBX_API sbx_op *sbx_client_set_warm_start(sbx_client *client, sbx_view profile, uint32_t count);
SBX_API sbx_code sbx_client_flush(sbx_client *client, sbx_view profile, sbx_error **err);
SBX_API sbx_op *sbx_client_flush_start(sbx_client *client, sbx_view profile);
SBX_API sbx_code sbx_client_wait_warm(sbx_client *client, int64_t timeout_ms, sbx_error **err);
SBX_API sbx_op *sbx_client_wait_warm_start(sbx_client *client, int64_t timeout_ms);
SBX_API sbx_code sbx_client_history(sbx_client *client, uint64_t after, uint32_t limit, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_history_start(sbx_client *client, uint64_t after, uint32_t limit);
SBX_API sbx_code sbx_client_health(sbx_client *client, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_client_health_start(sbx_client *client);
/* Prometheus text. */
SBX_API sbx_code sbx_client_metrics(sbx_client *client, sbx_bytes **text, sbx_error **err);
SBX_API sbx_op *sbx_client_metrics_start(sbx_client *client);
/* Events from now on (after < 0), or those after event `after` first. Result: sbx_op_take_events. */
SBX_API sbx_code sbx_client_events(sbx_client *client, int64_t after, sbx_events **events, sbx_error **err);
SBX_API sbx_op *sbx_client_events_start(sbx_client *client, int64_t after);
SBX_API sbx_code sbx_op_take_events(sbx_op *op, sbx_events **events, sbx_error **err);

/* The next event as JSON: {"id","type","sandbox_id","identity","timestamp","data"}; a runtime's have id 0 and no identity.
 * At most 4096 wait to be taken. timeout_ms 0: for ever. Ends with SBX_CANCELLED after sbx_events_cancel, and with
 * SBX_FAILED_PRECONDITION when the runtime was closed. Result of _start: sbx_op_take_bytes. */
SBX_API sbx_code sbx_events_next(sbx_events *events, int64_t timeout_ms, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_events_next_start(sbx_events *events);
/* Whether events between those seen were lost. */
SBX_API int sbx_events_gap(const sbx_events *events);
SBX_API void sbx_events_cancel(sbx_events *events);
SBX_API void sbx_events_free(sbx_events **events);

/* ---- a sandbox ------------------------------------------------------------------------------------------------------- */

typedef struct sbx_stats {
  size_t struct_size;
  uint64_t cpu_time_ns;
  uint64_t memory, memory_peak, memory_limit; /* bytes */
  uint32_t pids;
  uint64_t network_rx_bytes, network_tx_bytes;
  uint64_t disk_used, inodes_used;
  uint64_t oom_kills;
  uint64_t uptime_ns;
} sbx_stats;
#define SBX_STATS_INIT {sizeof(sbx_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

SBX_API sbx_code sbx_op_take_sandbox(sbx_op *op, sbx_sandbox **sandbox, sbx_error **err);
SBX_API sbx_view sbx_sandbox_id(const sbx_sandbox *sandbox);
/* What it is made of, as JSON: docs/PROTOCOL.md "Values as JSON". */
SBX_API sbx_code sbx_sandbox_spec(sbx_sandbox *sandbox, sbx_bytes **json, sbx_error **err);
SBX_API int sbx_sandbox_closed(const sbx_sandbox *sandbox);
/* Kills everything inside. Idempotent; the handle stays valid and its calls fail with SBX_FAILED_PRECONDITION. */
SBX_API sbx_code sbx_sandbox_close(sbx_sandbox *sandbox, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_close_start(sbx_sandbox *sandbox);
/* Gives up the handle without destroying the sandbox: only those of a daemon. */
SBX_API sbx_code sbx_sandbox_detach(sbx_sandbox *sandbox, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_detach_start(sbx_sandbox *sandbox);
/* Closes it, unless it came from sbx_client_open or was detached. */
SBX_API void sbx_sandbox_free(sbx_sandbox **sandbox);
/* One round trip to the agent, in nanoseconds. timeout_ms 0: 5 s. Result: sbx_op_take_count. */
SBX_API sbx_code sbx_sandbox_ping(sbx_sandbox *sandbox, int64_t timeout_ms, uint64_t *round_trip_ns, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_ping_start(sbx_sandbox *sandbox, int64_t timeout_ms);
/* `stats` must be initialised. Result: sbx_op_take_stats. */
SBX_API sbx_code sbx_sandbox_stats(sbx_sandbox *sandbox, sbx_stats *stats, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_stats_start(sbx_sandbox *sandbox);
SBX_API sbx_code sbx_op_take_stats(sbx_op *op, sbx_stats *stats, sbx_error **err);
SBX_API sbx_code sbx_sandbox_pause(sbx_sandbox *sandbox, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_pause_start(sbx_sandbox *sandbox);
SBX_API sbx_code sbx_sandbox_resume(sbx_sandbox *sandbox, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_resume_start(sbx_sandbox *sandbox);
/* The template's JSON, with its "id". Result: sbx_op_take_bytes. */
SBX_API sbx_code sbx_sandbox_save_template(sbx_sandbox *sandbox, sbx_view label, sbx_bytes **json, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_save_template_start(sbx_sandbox *sandbox, sbx_view label);
/* "sha256:…" of the agent of a sealed sandbox: what to pin. Result: sbx_op_take_bytes. */
SBX_API sbx_code sbx_sandbox_fingerprint(sbx_sandbox *sandbox, int64_t timeout_ms, sbx_bytes **text, sbx_error **err);
SBX_API sbx_op *sbx_sandbox_fingerprint_start(sbx_sandbox *sandbox, int64_t timeout_ms);
/* Limits and locks that the host does not enforce, one per line; empty unless the spec allowed that. */
SBX_API sbx_code sbx_sandbox_unenforced(sbx_sandbox *sandbox, sbx_bytes **lines, sbx_error **err);

/* ---- programs -------------------------------------------------------------------------------------------------------- */

/* What to run: a shell line, or a program with arguments. */
typedef struct sbx_command {
  size_t struct_size;
  sbx_view line;           /* run by /bin/sh -c; with argv it must be empty */
  const sbx_view *argv;    /* program and arguments; nothing is interpreted */
  size_t argv_size;
  const sbx_pair *env;     /* on top of the sandbox's */
  size_t env_size;
  int clear_env;
  sbx_view workdir;
  int64_t timeout_ms;      /* then the group is killed and the result says timed out; 0: none */
  uint64_t max_output;     /* bytes kept per stream; 0: 1 MiB for exec, no limit for spawn; UINT64_MAX: none kept */
  const sbx_view *input;   /* standard input, then end of file; null: /dev/null */
  int open_input;          /* spawn: keeps standard input open for sbx_process_write */
  uint16_t rows, columns;  /* spawn: both not 0: on a terminal of this size */
  int merge_stderr;
  sbx_view idempotency_key;
} sbx_command;
#define SBX_COMMAND_INIT {sizeof(sbx_command), {0, 0}, 0, 0, 0, 0, 0, {0, 0}, 0, 0, 0, 0, 0, 0, 0, {0, 0}}

/* How a program ended. */
typedef enum sbx_exit_cause {
  SBX_EXITED = 1,        /* by itself, with exit_code */
  SBX_SIGNALLED = 2,     /* by a signal from inside the sandbox */
  SBX_TIMED_OUT = 3,     /* ran past its timeout */
  SBX_OUT_OF_MEMORY = 4, /* the kernel killed it at the sandbox's memory limit */
  SBX_LIMIT_HIT = 5,     /* CPU time, file size or forbidden system call */
  SBX_KILLED = 6         /* because its caller asked */
} sbx_exit_cause;

typedef struct sbx_exit_status {
  size_t struct_size;
  sbx_exit_cause cause;
  int exit_code;      /* valid for SBX_EXITED */
  int signal;         /* for every other cause */
  int core_dumped;
  uint32_t oom_kills;
  uint64_t stdout_bytes, stderr_bytes;     /* written by the program */
  uint64_t stdout_dropped, stderr_dropped; /* of these, beyond max_output */
  uint64_t wall_time_ns, user_time_ns, system_time_ns;
  uint64_t max_rss; /* bytes */
} sbx_exit_status;
#define SBX_EXIT_STATUS_INIT {sizeof(sbx_exit_status), SBX_EXITED, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* What a shell would say: exit_code, or 128 + signal; 124 when timed out. */
SBX_API int sbx_exit_status_shell_code(const sbx_exit_status *status);
/* "exited", "timed_out", … */
SBX_API const char *sbx_exit_cause_name(sbx_exit_cause cause);

/* Runs and collects. Cancel: the group is killed. Result: sbx_op_take_exec. */
SBX_API sbx_code sbx_exec(sbx_sandbox *sandbox, const sbx_command *command, sbx_exec_result **result, sbx_error **err);
SBX_API sbx_op *sbx_exec_start(sbx_sandbox *sandbox, const sbx_command *command);
SBX_API sbx_code sbx_op_take_exec(sbx_op *op, sbx_exec_result **result, sbx_error **err);
/* `status` must be initialised: it gets as much as its struct_size takes. */
SBX_API void sbx_exec_result_status(const sbx_exec_result *result, sbx_exit_status *status);
SBX_API sbx_view sbx_exec_result_stdout(const sbx_exec_result *result);
SBX_API sbx_view sbx_exec_result_stderr(const sbx_exec_result *result);
SBX_API void sbx_exec_result_free(sbx_exec_result **result);

/* Starts a program; returns as soon as it runs. Result: sbx_op_take_process. */
SBX_API sbx_code sbx_spawn(sbx_sandbox *sandbox, const sbx_command *command, sbx_process **process, sbx_error **err);
SBX_API sbx_op *sbx_spawn_start(sbx_sandbox *sandbox, const sbx_command *command);
SBX_API sbx_code sbx_op_take_process(sbx_op *op, sbx_process **process, sbx_error **err);
SBX_API uint32_t sbx_process_pid(const sbx_process *process);
/* The next output: *stream 1 or 2, *bytes what came; *bytes null when both streams have ended. timeout_ms 0: for ever.
 * Result: sbx_op_take_output. Cancel: nothing is lost. */
SBX_API sbx_code sbx_process_read(sbx_process *process, int64_t timeout_ms, int *stream, sbx_bytes **bytes, sbx_error **err);
SBX_API sbx_op *sbx_process_read_start(sbx_process *process);
SBX_API sbx_code sbx_op_take_output(sbx_op *op, int *stream, sbx_bytes **bytes, sbx_error **err);
/* All of `bytes`, waiting while the program does not read. Result: sbx_op_take. */
SBX_API sbx_code sbx_process_write(sbx_process *process, sbx_view bytes, sbx_error **err);
SBX_API sbx_op *sbx_process_write_start(sbx_process *process, sbx_view bytes);
/* These four do not wait. */
SBX_API sbx_code sbx_process_close_input(sbx_process *process, sbx_error **err);
SBX_API sbx_code sbx_process_signal(sbx_process *process, int signal, sbx_error **err);
SBX_API sbx_code sbx_process_resize(sbx_process *process, uint16_t rows, uint16_t columns, sbx_error **err);
SBX_API sbx_code sbx_process_kill(sbx_process *process, sbx_error **err);
/* Until it ended; unread output is dropped. Repeatable. timeout_ms 0: for ever. `status` must be initialised.
 * Result: sbx_op_take_status. Cancel: the program goes on. */
SBX_API sbx_code sbx_process_wait(sbx_process *process, int64_t timeout_ms, sbx_exit_status *status, sbx_error **err);
SBX_API sbx_op *sbx_process_wait_start(sbx_process *process);
SBX_API sbx_code sbx_op_take_status(sbx_op *op, sbx_exit_status *status, sbx_error **err);
/* Ends the stream, and the program if it still runs. Does not wait: calls under way end with SBX_CANCELLED, later ones with
 * SBX_FAILED_PRECONDITION. Idempotent, from any thread; so are the other three below. */
SBX_API void sbx_process_close(sbx_process *process);
/* Closes it, too. */
SBX_API void sbx_process_free(sbx_process **process);

/* ---- files ----------------------------------------------------------------------------------------------------------- */

typedef enum sbx_file_type {
  SBX_FILE_UNKNOWN = 0, SBX_FILE_REGULAR = 1, SBX_FILE_DIRECTORY = 2, SBX_FILE_SYMLINK = 3, SBX_FILE_FIFO = 4,
  SBX_FILE_SOCKET = 5, SBX_FILE_CHARACTER = 6, SBX_FILE_BLOCK = 7
} sbx_file_type;

typedef struct sbx_file_info {
  size_t struct_size;
  sbx_view path;      /* list: name; find: below the root asked; stat: as asked. Borrowed from the list */
  sbx_file_type type;
  uint64_t size;      /* bytes */
  uint32_t mode;      /* permission bits */
  uint32_t uid, gid;  /* as seen inside */
  int64_t modified_ns; /* since the Unix epoch */
  sbx_view target;    /* of a symlink; borrowed */
} sbx_file_info;
#define SBX_FILE_INFO_INIT {sizeof(sbx_file_info), {0, 0}, SBX_FILE_UNKNOWN, 0, 0, 0, 0, 0, {0, 0}}

typedef struct sbx_write_options {
  size_t struct_size;
  int append;        /* otherwise the file is replaced atomically */
  int exclusive;     /* SBX_ALREADY_EXISTS instead of replacing */
  int make_parents;
  uint32_t mode;     /* 0: 0644, or the existing file's */
} sbx_write_options;
#define SBX_WRITE_OPTIONS_INIT {sizeof(sbx_write_options), 0, 0, 0, 0}

typedef struct sbx_find_options {
  size_t struct_size;
  sbx_file_type type;    /* SBX_FILE_UNKNOWN: any */
  uint32_t max_depth;    /* 0: no limit */
  uint64_t max_results;  /* 0: no limit */
} sbx_find_options;
#define SBX_FIND_OPTIONS_INIT {sizeof(sbx_find_options), SBX_FILE_UNKNOWN, 0, 0}

/* What a transfer moved. */
typedef struct sbx_transfer {
  size_t struct_size;
  uint64_t entries;
  uint64_t bytes;
  uint64_t skipped; /* devices, sockets and FIFOs left out */
} sbx_transfer;
#define SBX_TRANSFER_INIT {sizeof(sbx_transfer), 0, 0, 0}

/* Paths are absolute. max 0: 1 GiB, beyond it SBX_RESOURCE_EXHAUSTED. Result: sbx_op_take_bytes. */
SBX_API sbx_code sbx_fs_read(sbx_sandbox *sandbox, sbx_view path, uint64_t max, sbx_bytes **content, sbx_error **err);
SBX_API sbx_op *sbx_fs_read_start(sbx_sandbox *sandbox, sbx_view path, uint64_t max);
/* At most `length` bytes from `offset`. Result: sbx_op_take_bytes. */
SBX_API sbx_code sbx_fs_read_range(sbx_sandbox *sandbox, sbx_view path, uint64_t offset, uint64_t length, sbx_bytes **content,
                                   sbx_error **err);
SBX_API sbx_op *sbx_fs_read_range_start(sbx_sandbox *sandbox, sbx_view path, uint64_t offset, uint64_t length);
/* `options` null: replace atomically. Result: sbx_op_take. */
SBX_API sbx_code sbx_fs_write(sbx_sandbox *sandbox, sbx_view path, sbx_view content, const sbx_write_options *options, sbx_error **err);
SBX_API sbx_op *sbx_fs_write_start(sbx_sandbox *sandbox, sbx_view path, sbx_view content, const sbx_write_options *options);

/* Content at the caller's pace. These do not wait; what is wrong with `path` shows with the first read, or in finish. */
SBX_API sbx_code sbx_fs_open_reader(sbx_sandbox *sandbox, sbx_view path, sbx_reader **reader, sbx_error **err);
SBX_API sbx_code sbx_fs_open_tar_reader(sbx_sandbox *sandbox, sbx_view path, sbx_reader **reader, sbx_error **err);
SBX_API sbx_code sbx_fs_open_writer(sbx_sandbox *sandbox, sbx_view path, const sbx_write_options *options, sbx_writer **writer,
                                    sbx_error **err);
SBX_API sbx_code sbx_fs_open_tar_writer(sbx_sandbox *sandbox, sbx_view path, sbx_writer **writer, sbx_error **err);
/* The next piece; *bytes null at the end. Result: sbx_op_take_bytes. Cancel: nothing is lost. */
SBX_API sbx_code sbx_reader_read(sbx_reader *reader, sbx_bytes **bytes, sbx_error **err);
SBX_API sbx_op *sbx_reader_read_start(sbx_reader *reader);
/* Ends the transfer, as sbx_process_close does. */
SBX_API void sbx_reader_close(sbx_reader *reader);
SBX_API void sbx_reader_free(sbx_reader **reader);
/* Result: sbx_op_take. */
SBX_API sbx_code sbx_writer_write(sbx_writer *writer, sbx_view bytes, sbx_error **err);
SBX_API sbx_op *sbx_writer_write_start(sbx_writer *writer, sbx_view bytes);
/* No more content: waits until everything is in place. `transfer` must be initialised, or null. Result: sbx_op_take_transfer. */
SBX_API sbx_code sbx_writer_finish(sbx_writer *writer, sbx_transfer *transfer, sbx_error **err);
SBX_API sbx_op *sbx_writer_finish_start(sbx_writer *writer);
SBX_API sbx_code sbx_op_take_transfer(sbx_op *op, sbx_transfer *transfer, sbx_error **err);
/* Before finish: leaves the old content in place. */
SBX_API void sbx_writer_close(sbx_writer *writer);
SBX_API void sbx_writer_free(sbx_writer **writer);

/* A file or directory of this host into the sandbox, or out of it. Result: sbx_op_take_transfer. */
SBX_API sbx_code sbx_fs_upload(sbx_sandbox *sandbox, sbx_view host_path, sbx_view path, sbx_transfer *transfer, sbx_error **err);
SBX_API sbx_op *sbx_fs_upload_start(sbx_sandbox *sandbox, sbx_view host_path, sbx_view path);
SBX_API sbx_code sbx_fs_download(sbx_sandbox *sandbox, sbx_view path, sbx_view host_path, sbx_transfer *transfer, sbx_error **err);
SBX_API sbx_op *sbx_fs_download_start(sbx_sandbox *sandbox, sbx_view path, sbx_view host_path);

/* Result of the ones with a list: sbx_op_take_files; stat gives a list of one. */
SBX_API sbx_code sbx_fs_list(sbx_sandbox *sandbox, sbx_view path, sbx_file_list **files, sbx_error **err);
SBX_API sbx_op *sbx_fs_list_start(sbx_sandbox *sandbox, sbx_view path);
SBX_API sbx_code sbx_fs_find(sbx_sandbox *sandbox, sbx_view root, sbx_view pattern, const sbx_find_options *options,
                             sbx_file_list **files, sbx_error **err);
SBX_API sbx_op *sbx_fs_find_start(sbx_sandbox *sandbox, sbx_view root, sbx_view pattern, const sbx_find_options *options);
/* follow 0: a symlink itself. */
SBX_API sbx_code sbx_fs_stat(sbx_sandbox *sandbox, sbx_view path, int follow, sbx_file_list **files, sbx_error **err);
SBX_API sbx_op *sbx_fs_stat_start(sbx_sandbox *sandbox, sbx_view path, int follow);
SBX_API sbx_code sbx_op_take_files(sbx_op *op, sbx_file_list **files, sbx_error **err);
SBX_API size_t sbx_file_list_size(const sbx_file_list *files);
/* `info` must be initialised. SBX_INVALID_ARGUMENT beyond the end. */
SBX_API sbx_code sbx_file_list_at(const sbx_file_list *files, size_t index, sbx_file_info *info, sbx_error **err);
SBX_API void sbx_file_list_free(sbx_file_list **files);

/* Result of all of these: sbx_op_take; of copy sbx_op_take_count. */
SBX_API sbx_code sbx_fs_mkdir(sbx_sandbox *sandbox, sbx_view path, sbx_error **err);
SBX_API sbx_op *sbx_fs_mkdir_start(sbx_sandbox *sandbox, sbx_view path);
/* recursive: a whole tree, and not there is fine. */
SBX_API sbx_code sbx_fs_remove(sbx_sandbox *sandbox, sbx_view path, int recursive, sbx_error **err);
SBX_API sbx_op *sbx_fs_remove_start(sbx_sandbox *sandbox, sbx_view path, int recursive);
SBX_API sbx_code sbx_fs_rename(sbx_sandbox *sandbox, sbx_view from, sbx_view to, sbx_error **err);
SBX_API sbx_op *sbx_fs_rename_start(sbx_sandbox *sandbox, sbx_view from, sbx_view to);
SBX_API sbx_code sbx_fs_copy(sbx_sandbox *sandbox, sbx_view from, sbx_view to, uint64_t *bytes, sbx_error **err);
SBX_API sbx_op *sbx_fs_copy_start(sbx_sandbox *sandbox, sbx_view from, sbx_view to);
SBX_API sbx_code sbx_fs_symlink(sbx_sandbox *sandbox, sbx_view target, sbx_view path, sbx_error **err);
SBX_API sbx_op *sbx_fs_symlink_start(sbx_sandbox *sandbox, sbx_view target, sbx_view path);
SBX_API sbx_code sbx_fs_chmod(sbx_sandbox *sandbox, sbx_view path, uint32_t mode, sbx_error **err);
SBX_API sbx_op *sbx_fs_chmod_start(sbx_sandbox *sandbox, sbx_view path, uint32_t mode);

typedef enum sbx_change {
  SBX_CREATED = 1, SBX_MODIFIED = 2, SBX_REMOVED = 3, SBX_RENAMED = 4, SBX_ATTRIBUTES = 5,
  SBX_OVERFLOW = 6 /* events were lost: look again */
} sbx_change;

/* Changes below a directory from the moment this returns. Result: sbx_op_take_watch. */
SBX_API sbx_code sbx_fs_watch(sbx_sandbox *sandbox, sbx_view path, int recursive, sbx_watch **watch, sbx_error **err);
SBX_API sbx_op *sbx_fs_watch_start(sbx_sandbox *sandbox, sbx_view path, int recursive);
SBX_API sbx_code sbx_op_take_watch(sbx_op *op, sbx_watch **watch, sbx_error **err);
typedef struct sbx_file_event {
  size_t struct_size;
  sbx_change change;
  sbx_file_type type;
  sbx_view path;      /* absolute; borrowed from the watch until its next event is taken */
  sbx_view old_path;  /* SBX_RENAMED only */
} sbx_file_event;
#define SBX_FILE_EVENT_INIT {sizeof(sbx_file_event), SBX_OVERFLOW, SBX_FILE_UNKNOWN, {0, 0}, {0, 0}}
/* `event` must be initialised. timeout_ms 0: for ever. Result: sbx_op_take_file_event, whose views are borrowed from the op. */
SBX_API sbx_code sbx_watch_next(sbx_watch *watch, int64_t timeout_ms, sbx_file_event *event, sbx_error **err);
SBX_API sbx_op *sbx_watch_next_start(sbx_watch *watch);
SBX_API sbx_code sbx_op_take_file_event(sbx_op *op, sbx_file_event *event, sbx_error **err);
SBX_API void sbx_watch_close(sbx_watch *watch);
SBX_API void sbx_watch_free(sbx_watch **watch);

/* ---- environment ----------------------------------------------------------------------------------------------------- */

/* *value null: not set. Result: sbx_op_take_bytes. */
SBX_API sbx_code sbx_env_get(sbx_sandbox *sandbox, sbx_view name, sbx_bytes **value, sbx_error **err);
SBX_API sbx_op *sbx_env_get_start(sbx_sandbox *sandbox, sbx_view name);
SBX_API sbx_code sbx_env_set(sbx_sandbox *sandbox, sbx_view name, sbx_view value, sbx_error **err);
SBX_API sbx_op *sbx_env_set_start(sbx_sandbox *sandbox, sbx_view name, sbx_view value);
SBX_API sbx_code sbx_env_unset(sbx_sandbox *sandbox, sbx_view name, sbx_error **err);
SBX_API sbx_op *sbx_env_unset_start(sbx_sandbox *sandbox, sbx_view name);
/* Sorted by name. Result: sbx_op_take_env. */
SBX_API sbx_code sbx_env_all(sbx_sandbox *sandbox, sbx_env_list **list, sbx_error **err);
SBX_API sbx_op *sbx_env_all_start(sbx_sandbox *sandbox);
SBX_API sbx_code sbx_op_take_env(sbx_op *op, sbx_env_list **list, sbx_error **err);
SBX_API size_t sbx_env_list_size(const sbx_env_list *list);
SBX_API sbx_code sbx_env_list_at(const sbx_env_list *list, size_t index, sbx_pair *pair, sbx_error **err);
SBX_API void sbx_env_list_free(sbx_env_list **list);

/* ---- ports ----------------------------------------------------------------------------------------------------------- */

/* A port of this host that leads to one inside. */
typedef struct sbx_port {
  size_t struct_size;
  uint16_t port;       /* inside */
  uint16_t host_port;
  char host_address[64]; /* "127.0.0.1", ends with NUL */
} sbx_port;
#define SBX_PORT_INIT {sizeof(sbx_port), 0, 0, {0}}

/* A connected TCP socket to `port` inside, blocking and close-on-exec; the caller owns it. timeout_ms 0: 5 s.
 * Result: sbx_op_take_fd. */
SBX_API sbx_code sbx_net_connect(sbx_sandbox *sandbox, uint16_t port, int64_t timeout_ms, int *fd, sbx_error **err);
SBX_API sbx_op *sbx_net_connect_start(sbx_sandbox *sandbox, uint16_t port, int64_t timeout_ms);
SBX_API sbx_code sbx_op_take_fd(sbx_op *op, int *fd, sbx_error **err);
/* host_port 0: any free one. Waits until something listens inside; timeout_ms 0: 30 s. Result: sbx_op_take_port. Cancel: the
 * waiting ends, and when the op has ended both ports are free. Behind a daemon that takes its answer, or 2 s without one;
 * then the daemon frees the ports when it finds the connection gone. */
SBX_API sbx_code sbx_net_expose(sbx_sandbox *sandbox, uint16_t port, uint16_t host_port, int64_t timeout_ms, sbx_port *exposed,
                                sbx_error **err);
SBX_API sbx_op *sbx_net_expose_start(sbx_sandbox *sandbox, uint16_t port, uint16_t host_port, int64_t timeout_ms);
SBX_API sbx_code sbx_op_take_port(sbx_op *op, sbx_port *exposed, sbx_error **err);
/* Result: sbx_op_take_ports. */
SBX_API sbx_code sbx_net_list(sbx_sandbox *sandbox, sbx_port_list **ports, sbx_error **err);
SBX_API sbx_op *sbx_net_list_start(sbx_sandbox *sandbox);
SBX_API sbx_code sbx_op_take_ports(sbx_op *op, sbx_port_list **ports, sbx_error **err);
SBX_API size_t sbx_port_list_size(const sbx_port_list *ports);
SBX_API sbx_code sbx_port_list_at(const sbx_port_list *ports, size_t index, sbx_port *port, sbx_error **err);
SBX_API void sbx_port_list_free(sbx_port_list **ports);
SBX_API sbx_code sbx_net_close(sbx_sandbox *sandbox, uint16_t port, sbx_error **err);
SBX_API sbx_op *sbx_net_close_start(sbx_sandbox *sandbox, uint16_t port);

/* ---- keys ------------------------------------------------------------------------------------------------------------ */

/* A new Ed25519 key for sbx_client_options: 32 bytes of seed, and base64 of the public key for the daemon's configuration. */
SBX_API sbx_code sbx_signing_key_generate(unsigned char seed[32], sbx_bytes **public_key, sbx_error **err);

#ifdef __cplusplus
}
#endif

#endif /* SANDBOX_C_H */
