#include "conformance/scenarios/operations.hpp"

namespace sandbox::scenarios {

namespace {

using std::chrono::milliseconds;

SandboxSpec spec_of(const World& world, Arguments& args) {
  SandboxSpec spec;
  Limits limits;
  if (args.has("image")) spec.image(Image::parse(args.text("image")));
  if (args.has("memory")) limits.memory(ByteCount(static_cast<std::uint64_t>(args.number("memory"))));
  if (args.has("cpus")) limits.cpus(args.real("cpus"));
  if (args.has("pids")) limits.pids(static_cast<std::uint32_t>(args.number("pids")));
  if (args.has("open_files")) limits.open_files(static_cast<std::uint32_t>(args.number("open_files")));
  if (args.has("disk")) limits.disk(ByteCount(static_cast<std::uint64_t>(args.number("disk"))));
  if (args.has("inodes")) limits.inodes(static_cast<std::uint64_t>(args.number("inodes")));
  if (args.has("network")) {
    const std::string network = args.text("network");
    if (network != "none" && network != "bridge") throw Surprise("unknown network " + network);
    spec.network(network == "bridge" ? Network::bridge : Network::none);
  }
  for (auto& [name, value] : args.pairs("env")) spec.env(name, value);
  if (args.has("workdir")) spec.workdir(args.text("workdir"));
  if (args.has("hostname")) spec.hostname(args.text("hostname"));
  if (args.has("user")) spec.user(args.text("user"));
  return spec.limits(limits).writable_root(args.flag("writable_root")).sealed(world.environment == "sealed");
}

Result<Object> keep_sandbox(const Call& call, Result<Sandbox> made) {
  if (!made) return made.error();
  Object fields = {{"id", made->id()}};
  call.made = std::make_shared<Sandbox>(*std::move(made));
  return fields;
}

Result<Object> create(const Call& call) {
  const SandboxSpec spec = spec_of(call.world, call.args);
  CreateOptions options;
  if (call.args.has("deadline_ms")) options.deadline(milliseconds(call.args.number("deadline_ms")));
  if (call.args.flag("cold")) options.cold();
  CreateRequest request;
  request.spec(spec).sealed(spec.is_sealed());
  if (call.world.client && call.args.has("ttl_s")) request.ttl(std::chrono::seconds(call.args.number("ttl_s")));
  call.args.finish();
  if (call.world.runtime) return keep_sandbox(call, call.world.runtime->create(spec, options));
  return keep_sandbox(call, call.world.client->create(request, options));
}

Object template_fields(const TemplateInfo& info) {
  return {{"id", info.id}, {"label", info.label}, {"digest", info.digest}, {"size", info.size.bytes()}};
}

Client& client(const Call& call) {
  if (!call.world.client) throw Surprise("there is no daemon here");
  return *call.world.client;
}

Result<Object> stats(Sandbox& box) {
  SANDBOX_TRY(const SandboxStats now, box.stats());
  return Object{{"cpu_time_ns", static_cast<std::int64_t>(now.cpu_time.count())},
                {"memory", now.memory.bytes()},
                {"memory_peak", now.memory_peak.bytes()},
                {"memory_limit", now.memory_limit.bytes()},
                {"pids", now.pids},
                {"disk_used", now.disk_used.bytes()},
                {"inodes_used", now.inodes_used},
                {"oom_kills", now.oom_kills},
                {"uptime_ns", static_cast<std::int64_t>(now.uptime.count())}};
}

Result<Object> find_template(const Call& call) {
  const std::string id = call.args.text("id");
  if (call.world.runtime) {
    SANDBOX_TRY(const auto found, call.world.runtime->find_template(id));
    return template_fields(found);
  }
  SANDBOX_TRY(const auto found, call.world.client->find_template(id));
  return template_fields(found);
}

std::optional<Result<Object>> perform_on_ports(const Call& call, const std::string& what) {
  Net net = call.object<Sandbox>().net();
  const auto port = static_cast<std::uint16_t>(call.args.number("port"));
  const auto fields = [](const ExposedPort& exposed) {
    return Object{{"port", std::uint32_t{exposed.port}},
                  {"host_port", std::uint32_t{exposed.host_port}},
                  {"host_address", exposed.host_address}};
  };
  if (what == "connect") {
    const auto fd = net.connect(port, milliseconds(call.args.number("timeout_ms", 5000)));
    if (!fd) return Result<Object>(fd.error());
    call.made = std::make_shared<SocketHandle>(*fd);
    return Object();
  }
  if (what == "expose") {
    const auto host_port = static_cast<std::uint16_t>(call.args.number("host_port"));
    const auto exposed = net.expose(port, host_port, milliseconds(call.args.number("timeout_ms", 30000)));
    return exposed ? Result<Object>(fields(*exposed)) : Result<Object>(exposed.error());
  }
  if (what == "close") return plain(net.close(port));
  if (what != "list") return std::nullopt;
  const auto all = net.list();
  if (!all) return Result<Object>(all.error());
  List ports;
  for (const ExposedPort& one : *all) ports.push_back(fields(one));
  return Object{{"ports", ports}};
}

std::optional<Result<Object>> perform_on_env(const Call& call, const std::string& what) {
  Env env = call.object<Sandbox>().env();
  if (what == "set") return plain(env.set(call.args.text("name"), call.args.text("value")));
  if (what == "unset") return plain(env.unset(call.args.text("name")));
  if (what == "get") {
    const auto value = env.get(call.args.text("name"));
    if (!value) return Result<Object>(value.error());
    return Object{{"value", *value ? Value(**value) : Value()}};
  }
  if (what != "all") return std::nullopt;
  const auto all = env.list();
  if (!all) return Result<Object>(all.error());
  List list;
  for (const auto& [name, value] : *all) list.push_back(Object{{"name", name}, {"value", value}});
  return Object{{"env", list}};
}

Result<Object> fingerprint(Sandbox& box) {
  SANDBOX_TRY(const Fingerprint found, box.agent_fingerprint());
  return Object{{"fingerprint", found.to_string()}};
}

}  // namespace

Result<Object> plain(const Result<void>& result) {
  if (!result) return result.error();
  return Object();
}

std::optional<Result<Object>> perform_on_sandbox(const Call& call) {
  const std::string& what = call.operation;
  if (what == "create") return create(call);
  if (what == "find_template") return find_template(call);
  if (what == "remove_template") {
    const std::string id = call.args.text("id");
    return plain(call.world.runtime ? call.world.runtime->remove_template(id) : call.world.client->remove_template(id));
  }
  if (what == "open")
    return keep_sandbox(
        call, client(call).open(call.args.text("id"), OpenOptions().sealed(call.world.environment == "sealed")));
  if (what == "remove") return plain(client(call).remove(call.args.text("id")));
  if (what.starts_with("net.")) return perform_on_ports(call, what.substr(4));
  if (what.starts_with("env.")) return perform_on_env(call, what.substr(4));
  if (what == "close") return plain(call.object<Sandbox>().close());
  if (what == "pause") return plain(call.object<Sandbox>().pause());
  if (what == "resume") return plain(call.object<Sandbox>().resume());
  if (what == "detach") return plain(call.object<Sandbox>().detach());
  if (what == "closed") return Object{{"closed", call.object<Sandbox>().closed()}};
  if (what == "stats") return stats(call.object<Sandbox>());
  if (what == "fingerprint") return fingerprint(call.object<Sandbox>());
  if (what == "ping") {
    const auto time = call.object<Sandbox>().ping(milliseconds(call.args.number("timeout_ms", 5000)));
    if (!time) return Result<Object>(time.error());
    return Object{{"round_trip_ns", static_cast<std::int64_t>(time->count())}};
  }
  if (what == "save_template") {
    const auto info = call.object<Sandbox>().save_template(call.args.text("label"));
    if (!info) return Result<Object>(info.error());
    return template_fields(*info);
  }
  return std::nullopt;
}

Result<Object> perform(const Call& call) {
  for (const auto perform_on : {perform_on_process, perform_on_files, perform_on_host, perform_on_sandbox}) {
    if (auto done = perform_on(call)) return *std::move(done);
  }
  throw Surprise("unknown operation");
}

}  // namespace sandbox::scenarios
