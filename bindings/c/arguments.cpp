#include "arguments.hpp"

#include <cmath>

namespace sandbox::c {
namespace {

constexpr std::size_t kMaxText = 16 << 20;

template <class Item>
Result<void> check_array(const Item* items, std::size_t size, std::string_view argument) {
  if (!items && size != 0) return null_argument(argument);
  if (size > kMaxItems) return bad_argument(argument, "has more than 65536 items");
  return {};
}

/// Rounded up; none for what is negative.
std::chrono::seconds whole_seconds(std::int64_t ms) {
  return std::chrono::ceil<std::chrono::seconds>(clamped_time(ms));
}

Result<Command> program_of(const sbx_command& command) {
  SANDBOX_CHECK(check_array(command.argv, command.argv_size, "argv"));
  SANDBOX_TRY(std::string line, text_of(command.line, "line"));
  if (command.argv_size == 0) {
    if (line.empty()) return bad_argument("command", "is empty");
    return Command(std::move(line));
  }
  if (!line.empty()) return bad_argument("line", "cannot be combined with argv");
  std::vector<std::string> argv;
  argv.reserve(command.argv_size);
  for (std::size_t i = 0; i < command.argv_size; ++i) {
    SANDBOX_TRY(argv.emplace_back(), text_of(command.argv[i], "argv"));
  }
  return Command::from_argv(std::move(argv));
}

}  // namespace

Result<ByteView> bytes_of(sbx_view view, std::string_view argument) {
  if (!view.data && view.size != 0) return null_argument(argument);
  if (view.size > PTRDIFF_MAX) return bad_argument(argument, "is too long");
  return ByteView(reinterpret_cast<const std::byte*>(view.data), view.size);
}

Result<std::string> text_of(sbx_view view, std::string_view argument) {
  if (!view.data && view.size != 0) return null_argument(argument);
  if (view.size > kMaxText) return bad_argument(argument, "is too long");
  const std::string_view text(view.data ? view.data : "", view.size);
  if (text.find('\0') != text.npos) return bad_argument(argument, "contains a NUL byte");
  return std::string(text);
}

Result<std::vector<std::pair<std::string, std::string>>> pairs_of(const sbx_pair* pairs, std::size_t size, std::string_view argument) {
  SANDBOX_CHECK(check_array(pairs, size, argument));
  std::vector<std::pair<std::string, std::string>> list;
  list.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    SANDBOX_TRY(std::string name, text_of(pairs[i].name, argument));
    SANDBOX_TRY(std::string value, text_of(pairs[i].value, argument));
    list.emplace_back(std::move(name), std::move(value));
  }
  return list;
}

Result<std::chrono::milliseconds> time_of(std::int64_t ms, std::chrono::milliseconds otherwise, std::string_view argument) {
  if (ms < 0) return bad_argument(argument, "is negative");
  return ms == 0 ? otherwise : clamped_time(ms);
}

Result<SandboxSpec> spec_of(const sbx_spec* spec) {
  SANDBOX_TRY(const sbx_spec given, struct_of(spec, sbx_spec SBX_SPEC_INIT, "spec"));
  SandboxSpec made;
  SANDBOX_TRY(const std::string image, text_of(given.image, "image"));
  if (!image.empty()) made.image(Image::parse(image));
  Limits limits;
  if (given.memory) limits.memory(ByteCount(given.memory));
  if (std::isnan(given.cpus) || given.cpus < 0) return bad_argument("cpus", "is not a number of cores");
  if (given.cpus > 0) limits.cpus(given.cpus);
  if (given.pids) limits.pids(given.pids);
  if (given.open_files) limits.open_files(given.open_files);
  if (given.disk) limits.disk(ByteCount(given.disk));
  if (given.inodes) limits.inodes(given.inodes);
  made.limits(limits);
  switch (number_of(given.network)) {
    case SBX_NETWORK_NONE: made.network(Network::none); break;
    case SBX_NETWORK_BRIDGE: made.network(Network::bridge); break;
    default: return bad_argument("network", "is not an sbx_network");
  }
  SANDBOX_TRY(auto env, pairs_of(given.env, given.env_size, "env"));
  for (auto& [name, value] : env) made.env(std::move(name), std::move(value));
  SANDBOX_TRY(std::string workdir, text_of(given.workdir, "workdir"));
  if (!workdir.empty()) made.workdir(std::move(workdir));
  SANDBOX_TRY(std::string hostname, text_of(given.hostname, "hostname"));
  if (!hostname.empty()) made.hostname(std::move(hostname));
  made.writable_root(given.writable_root != 0);
  SANDBOX_TRY(std::string backend, text_of(given.backend, "backend"));
  if (!backend.empty()) made.backend(std::move(backend));
  SANDBOX_TRY(std::string user, text_of(given.user, "user"));
  made.user(std::move(user));
  made.sealed(given.sealed != 0);
  if (given.allow_unenforced_limits != 0) made.allow(allow::unenforced_limits());
  return made;
}

Result<PruneOptions> prune_options_of(const sbx_prune_options* options) {
  SANDBOX_TRY(const sbx_prune_options given, struct_of(options, sbx_prune_options SBX_PRUNE_OPTIONS_INIT, "options"));
  PruneOptions made;
  if (given.unused_for_ms != 0) made.unused_for = whole_seconds(given.unused_for_ms);
  made.dry_run = given.dry_run != 0;
  return made;
}

Result<RuntimeOptions> runtime_options_of(const sbx_runtime_options* options) {
  SANDBOX_TRY(const sbx_runtime_options given, struct_of(options, sbx_runtime_options SBX_RUNTIME_OPTIONS_INIT, "options",
                                                         {offsetof(sbx_runtime_options, require_proof),
                                                          offsetof(sbx_runtime_options, prune_after_ms)}));
  RuntimeOptions made;
  SANDBOX_CHECK(check_array(given.warm, given.warm_size, "warm"));
  for (std::size_t i = 0; i < given.warm_size; ++i) {
    SANDBOX_TRY(SandboxSpec spec, spec_of(given.warm[i].spec));
    made.warm(given.warm[i].count, std::move(spec));
  }
  if (given.max_warm) made.max_warm(given.max_warm);
  if (given.max_sandboxes) made.max_sandboxes(given.max_sandboxes);
  SANDBOX_TRY(std::string state_directory, text_of(given.state_directory, "state_directory"));
  made.state_directory(std::move(state_directory));
  SANDBOX_TRY(std::string helper_directory, text_of(given.helper_directory, "helper_directory"));
  made.helper_directory(std::move(helper_directory));
  made.launchers(given.launchers).persistent(given.persistent != 0);
  SANDBOX_TRY(const auto orphan_time, time_of(given.orphan_time_ms, made.orphan_time(), "orphan_time_ms"));
  made.orphan_time(orphan_time);
  SANDBOX_TRY(std::string proof, text_of(given.require_proof, "require_proof"));
  made.require_proof(std::move(proof));
  if (given.prune_after_ms != 0) made.prune_after(whole_seconds(given.prune_after_ms));  // below 0: never
  return made;
}

Result<CreateOptions> create_options_of(const sbx_create_options* options) {
  SANDBOX_TRY(const sbx_create_options given, struct_of(options, sbx_create_options SBX_CREATE_OPTIONS_INIT, "options"));
  CreateOptions made;
  SANDBOX_TRY(const auto deadline, time_of(given.deadline_ms, made.deadline(), "deadline_ms"));
  made.deadline(deadline);
  if (given.cold != 0) made.cold();
  return made;
}

Result<ClientOptions> client_options_of(const sbx_client_options* options) {
  SANDBOX_TRY(const sbx_client_options given, struct_of(options, sbx_client_options SBX_CLIENT_OPTIONS_INIT, "options"));
  ClientOptions made;
  SANDBOX_TRY(std::string token, text_of(given.token, "token"));
  made.token(std::move(token));
  SANDBOX_TRY(std::string tenant, text_of(given.tenant, "tenant"));
  SANDBOX_TRY(const ByteView seed, bytes_of(given.tenant_seed, "tenant_seed"));
  if (tenant.empty() != seed.empty()) return bad_argument(tenant.empty() ? "tenant" : "tenant_seed", "is missing");
  if (!tenant.empty()) {
    SANDBOX_TRY(SigningKey key, SigningKey::from_seed(seed));
    made.tenant(Tenant{std::move(tenant), std::move(key), given.tenant_max_concurrent, std::chrono::seconds(given.tenant_max_ttl_s),
                       given.tenant_max_templates});
  }
  SANDBOX_TRY(std::string ca_file, text_of(given.ca_file, "ca_file"));
  made.ca_file(std::move(ca_file));
  SANDBOX_TRY(const auto timeout, time_of(given.timeout_ms, made.timeout()));
  SANDBOX_TRY(const auto heartbeat, time_of(given.heartbeat_ms, made.heartbeat(), "heartbeat_ms"));
  made.timeout(timeout).heartbeat(heartbeat).compress(given.compress != 0);
  if (given.reconnect_ms != 0) made.reconnect(clamped_time(given.reconnect_ms));  // below 0: none
  return made;
}

Result<Labels> labels_of(const sbx_pair* labels, std::size_t size) {
  SANDBOX_TRY(auto pairs, pairs_of(labels, size, "labels"));
  return Labels(std::make_move_iterator(pairs.begin()), std::make_move_iterator(pairs.end()));
}

Result<CreateRequest> create_request_of(const sbx_create_request* request) {
  SANDBOX_TRY(const sbx_create_request given, struct_of(request, sbx_create_request SBX_CREATE_REQUEST_INIT, "request"));
  CreateRequest made;
  SANDBOX_TRY(std::string profile, text_of(given.profile, "profile"));
  SANDBOX_TRY(std::string template_id, text_of(given.template_id, "template_id"));
  if (given.spec && !(profile.empty() && template_id.empty())) return bad_argument("spec", "cannot be combined with profile or template_id");
  made.profile(std::move(profile)).from_template(std::move(template_id));
  if (given.spec) {
    SANDBOX_TRY(SandboxSpec spec, spec_of(given.spec));
    made.spec(std::move(spec));
  }
  if (given.memory) made.memory(ByteCount(given.memory));
  if (std::isnan(given.cpus) || given.cpus < 0) return bad_argument("cpus", "is not a number of cores");
  if (given.cpus > 0) made.cpus(given.cpus);
  if (given.storage) made.storage(ByteCount(given.storage));
  if (given.ttl_s < 0) return bad_argument("ttl_s", "is negative");
  made.ttl(std::chrono::seconds(std::min<std::int64_t>(given.ttl_s, std::int64_t{10} * 366 * 24 * 3600)));
  SANDBOX_TRY(Labels labels, labels_of(given.labels, given.labels_size));
  for (auto& [key, value] : labels) made.label(key, std::move(value));
  made.sealed(given.sealed != 0);
  return made;
}

Result<OpenOptions> open_options_of(const sbx_open_options* options) {
  SANDBOX_TRY(const sbx_open_options given, struct_of(options, sbx_open_options SBX_OPEN_OPTIONS_INIT, "options"));
  OpenOptions made;
  made.sealed(given.sealed != 0);
  SANDBOX_TRY(const std::string pin, text_of(given.pin, "pin"));
  if (!pin.empty()) {
    SANDBOX_TRY(const Fingerprint fingerprint, Fingerprint::parse(pin));
    made.pin(fingerprint);
  }
  return made;
}

Result<Command> command_of(const sbx_command* command) {
  if (!command) return null_argument("command");
  SANDBOX_TRY(const sbx_command given, struct_of(command, sbx_command SBX_COMMAND_INIT, "command"));
  SANDBOX_TRY(Command made, program_of(given));
  SANDBOX_TRY(auto env, pairs_of(given.env, given.env_size, "env"));
  for (auto& [name, value] : env) made.env(std::move(name), std::move(value));
  if (given.clear_env != 0) made.clear_env();
  SANDBOX_TRY(std::string workdir, text_of(given.workdir, "workdir"));
  made.workdir(std::move(workdir));
  SANDBOX_TRY(const auto timeout, time_of(given.timeout_ms, std::chrono::milliseconds(0)));
  made.timeout(timeout);
  if (given.max_output != 0) made.max_output(ByteCount(given.max_output == UINT64_MAX ? 0 : given.max_output));
  if (given.input) {
    SANDBOX_TRY(const ByteView input, bytes_of(*given.input, "input"));
    made.stdin_text(std::string(as_text(input)));
  }
  if (given.open_input != 0) made.open_stdin();
  if ((given.rows == 0) != (given.columns == 0)) return bad_argument(given.rows == 0 ? "rows" : "columns", "is 0");
  if (given.rows != 0) made.pty(TerminalSize{given.rows, given.columns});
  if (given.merge_stderr != 0) made.merge_stderr();
  SANDBOX_TRY(std::string key, text_of(given.idempotency_key, "idempotency_key"));
  made.idempotency_key(std::move(key));
  return made;
}

Result<WriteOptions> write_options_of(const sbx_write_options* options) {
  SANDBOX_TRY(const sbx_write_options given, struct_of(options, sbx_write_options SBX_WRITE_OPTIONS_INIT, "options"));
  WriteOptions made;
  made.append = given.append != 0;
  made.exclusive = given.exclusive != 0;
  made.make_parents = given.make_parents != 0;
  made.mode = given.mode;
  return made;
}

Result<FindOptions> find_options_of(const sbx_find_options* options) {
  SANDBOX_TRY(const sbx_find_options given, struct_of(options, sbx_find_options SBX_FIND_OPTIONS_INIT, "options"));
  FindOptions made;
  const unsigned type = number_of(given.type);
  if (type > SBX_FILE_BLOCK) return bad_argument("type", "is not an sbx_file_type");
  if (type != SBX_FILE_UNKNOWN) made.type = static_cast<FileType>(type);
  made.max_depth = given.max_depth;
  made.max_results = given.max_results;
  return made;
}

}  // namespace sandbox::c
