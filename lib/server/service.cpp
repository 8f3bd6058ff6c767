#include "server/service.hpp"

#include <filesystem>
#include <future>
#include <mutex>
#include <utility>

#include <sandbox/version.hpp>

#include "core/sync_point.hpp"
#include "core/text.hpp"
#include "runtime/proof.hpp"
#include "server/core.hpp"
#include "server/on_reactor.hpp"

namespace sandbox::server {
namespace {

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  if (error) return Error::from_errno(error.value(), "server.data_dir", path);
  return {};
}

/// Nobody gets in unasked from other machines.
Result<void> check_listener(const Config& config) {
  if (config.server.tcp.empty()) return {};
  const auto address = parse_host_port(config.server.tcp);
  if (!address) return Error(ErrorCode::invalid_argument, "server.tcp: not host:port: " + config.server.tcp);
  if (is_loopback(address->host) || config.authenticates() || config.server.allow_unauthenticated) return {};
  return Error(ErrorCode::invalid_argument,
               "server.tcp listens beyond this machine without any authentication: set server.tokens or multi_tenant, or "
               "server.allow_unauthenticated = true");
}

RateLimiter::Options creation_limit(const Config& config) {
  RateLimiter::Options options;
  options.max = config.limits.create_rate_limit;
  options.entries = config.limits.rate_limit_entries;
  return options;
}

}  // namespace

struct Service::Impl {
  Config config;
  std::shared_ptr<Log> log;
  std::shared_ptr<RuntimeState> runtime;
  std::shared_ptr<Core> core;
  std::unique_ptr<http::Server> server;
  std::uint16_t tcp_port = 0;
  std::string certificate, key;  ///< of the listener; the configuration may name others by now
  std::mutex mutex;  ///< one stop or reload at a time
  bool stopped = false;

  boost::asio::io_context& context() { return runtime->reactor().context(); }
  Result<void> listen();
};

Service::Service(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<void> Service::Impl::listen() {
  http::ServerOptions options;
  options.header_timeout = std::chrono::duration_cast<core::Duration>(config.server.header_timeout);
  options.idle_timeout = std::chrono::duration_cast<core::Duration>(config.server.idle_timeout);
  options.max_connections = config.server.max_connections;
  server = std::make_unique<http::Server>(context(), options, [core = core](ExchangePtr exchange) { core->serve(std::move(exchange)); });
  if (!config.server.tcp.empty()) {
    if (config.server.tls_cert.empty()) {
      SANDBOX_TRY(tcp_port, server->listen_tcp(config.server.tcp));
    } else {
      certificate = config.server.tls_cert;
      key = config.server.tls_key;
      SANDBOX_TRY(tcp_port, server->listen_tls(config.server.tcp, certificate, key));
    }
    log->info("listening", {{"tcp", config.server.tcp}, {"port", tcp_port}, {"tls", !config.server.tls_cert.empty()}});
  }
  // Last: who finds the socket may take it that the daemon listens everywhere.
  SANDBOX_CHECK(server->listen_unix(config.server.socket));
  log->info("listening", {{"socket", config.server.socket}});
  return {};
}

Result<void> Service::check(const Config& config) {
  SANDBOX_CHECK(check_listener(config));
  if (config.server.require_proof.empty()) return {};
  auto proof = runtime::read_proof(config.server.require_proof);
  if (!proof) return std::move(proof).error().with_context("server.require_proof");
  return {};
}

Result<std::unique_ptr<Service>> Service::open(ServiceOptions options) {
  SANDBOX_CHECK(check_listener(options.config));  // the proof is the runtime's to read: once, so that nobody can change it between
  SANDBOX_TRY(Settings settings, settings_from(options.config));
  auto impl = std::make_unique<Impl>();
  impl->config = std::move(options.config);
  impl->log = std::move(options.log);
  const Config& config = impl->config;
  const std::string& data = config.server.data_dir;
  SANDBOX_CHECK(make_directory(data));

  Leaves leaves;
  leaves.clock = std::make_unique<core::Clock>();
  leaves.log = impl->log;
  Store::Options store_options;
  store_options.on_error = [log = impl->log](const Error& error) { log->error("store", {{"error", error.to_string()}}); };
  SANDBOX_TRY(leaves.store, Store::open(data + "/sandboxd.db", std::move(store_options)));
  leaves.metrics = std::make_unique<Metrics>(SANDBOX_VERSION_STRING);
  SANDBOX_TRY(const auto last_event, leaves.store->meta(kLastEvent));
  const auto told = core::parse_number<std::uint64_t>(last_event.value_or("")).value_or(0);
  leaves.events = std::make_unique<EventLog>(told);
  // Before the first event: a daemon that is killed has said nothing beyond.
  leaves.store->set_meta(kLastEvent, std::to_string(told + kEventBlock));
  SANDBOX_CHECK(leaves.store->flush());
  leaves.authenticator = std::make_unique<Authenticator>(AuthOptions::from(config), *leaves.clock);
  leaves.creations = std::make_unique<RateLimiter>(creation_limit(config), *leaves.clock);
  impl->core = std::make_shared<Core>(std::move(leaves), std::move(settings));

  RuntimeOptions runtime;
  runtime.state_directory(data + "/runtime").helper_directory(options.helper_directory);
  runtime.max_warm(config.pool.max_warm).max_sandboxes(config.limits.max_sandboxes + config.pool.max_warm);
  runtime.persistent(options.persistent).require_proof(config.server.require_proof);
  runtime.on_log(impl->log->callback());
  runtime.on_event([weak = std::weak_ptr<Core>(impl->core)](const RuntimeEvent& event) {
    if (const auto core = weak.lock()) core->on_runtime_event(event);
  });
  SANDBOX_TRY(impl->runtime, RuntimeState::open(std::move(runtime)));
  std::unique_ptr<Service> service(new Service(std::move(impl)));
  Impl& self = *service->impl_;
  self.core->attach(self.runtime);
  SANDBOX_CHECK(self.core->recover());
  on_reactor(self.context(), [&] { self.core->start(); });
  SANDBOX_SYNC_POINT("server.before_listen");
  SANDBOX_CHECK(self.listen());
  on_reactor(self.context(), [&] { self.core->count_connections([server = self.server.get()] { return server->connections(); }); });
  return service;
}

Service::~Service() { stop(Leave::destroy).ignore("destroyed without stop(): nobody is left to tell"); }

std::uint16_t Service::tcp_port() const noexcept { return impl_->tcp_port; }
const Config& Service::config() const noexcept { return impl_->config; }

Result<std::vector<ConfigChange>> Service::reload(const Config& config) {
  std::lock_guard lock(impl_->mutex);
  if (impl_->stopped) return Error(ErrorCode::failed_precondition, "the service has stopped");
  SANDBOX_CHECK(check_listener(config));
  SANDBOX_TRY(Settings settings, settings_from(config));
  auto differences = changes(impl_->config, config);
  on_reactor(impl_->context(), [&] {
    Leaves& leaves = impl_->core->leaves();
    leaves.authenticator->set_options(AuthOptions::from(config));
    leaves.creations->set_options(creation_limit(config));
    leaves.log->set_level(config.log.level);
    impl_->core->apply(std::move(settings));
  });
  impl_->config = config;
  return differences;
}

Result<void> Service::renew_certificate() {
  std::lock_guard lock(impl_->mutex);
  if (impl_->stopped || impl_->certificate.empty()) return {};
  return impl_->server->renew_tls(impl_->certificate, impl_->key);
}

Result<void> Service::stop(Leave leave, std::chrono::milliseconds drain) {
  std::lock_guard lock(impl_->mutex);
  if (std::exchange(impl_->stopped, true) || !impl_->runtime) return {};
  SANDBOX_SYNC_POINT("server.stopping");
  on_reactor(impl_->context(), [&] { impl_->core->stop(); });
  if (impl_->server) {
    auto drained = std::make_shared<std::promise<void>>();
    auto done = drained->get_future();
    impl_->server->drain(core::SteadyClock::now() + drain, [drained] { drained->set_value(); });
    if (done.wait_for(drain + std::chrono::seconds(5)) == std::future_status::timeout) impl_->log->warning("not drained in time");
    impl_->server.reset();  // while its thread still runs
  }
  SANDBOX_SYNC_POINT("server.drained");
  auto ended = impl_->core->end(leave == Leave::keep);
  auto closed = leave == Leave::keep ? impl_->runtime->leave() : impl_->runtime->close();
  impl_->core.reset();
  impl_->runtime.reset();
  if (!ended) {
    closed.ignore("the first failure is reported");
    return ended;
  }
  return closed;
}

}  // namespace sandbox::server
