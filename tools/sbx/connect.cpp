#include "connect.hpp"

#include <cstdlib>
#include <utility>

#include "output.hpp"
#include "signing.hpp"

namespace sbx {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

constexpr const char* kLocal[] = {"unix:///var/run/sandboxd/sandboxd.sock", "http://localhost:7522"};

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string named_endpoint(const Common& common) {
  if (!common.endpoint.empty()) return common.endpoint;
  if (common.embedded) return {};
  auto endpoint = from_environment("SANDBOXD_ENDPOINT");
  return endpoint.empty() ? from_environment("SANDBOX_HOST") : endpoint;
}

Result<sandbox::ClientOptions> client_options(std::chrono::milliseconds timeout) {
  sandbox::ClientOptions options;
  options.timeout(timeout);
  if (auto token = from_environment("SBX_AUTH"); !token.empty()) options.token(std::move(token));
  if (auto file = from_environment("SBX_CA_FILE"); !file.empty()) options.ca_file(std::move(file));
  const auto identity = from_environment("SBX_IDENTITY");
  const auto key_file = from_environment("SBX_KEY_FILE");
  if (identity.empty() != key_file.empty()) {
    return Error(ErrorCode::invalid_argument, "SBX_IDENTITY and SBX_KEY_FILE go together: a tenant's name and the file of its key");
  }
  if (!identity.empty()) {
    SANDBOX_TRY(auto key, read_signing_key(key_file));
    options.tenant(sandbox::Tenant{.name = identity, .key = std::move(key)});
  }
  return options;
}

/// Tries the local places; `tried` says what happened at each.
Result<std::optional<Daemon>> look_around(std::chrono::milliseconds timeout, std::string& tried) {
  SANDBOX_TRY(const auto options, client_options(timeout));
  for (const char* endpoint : kLocal) {
    auto client = sandbox::Client::connect(endpoint, options);
    if (client) return std::optional<Daemon>(Daemon{*std::move(client), endpoint});
    tried += (tried.empty() ? "" : "; ") + std::string(endpoint) + ": " + client.error().message();
  }
  return std::optional<Daemon>();
}

}  // namespace

bool names_daemon(const Common& common) { return !named_endpoint(common).empty(); }

Result<std::optional<Daemon>> find_daemon(const Common& common, std::chrono::milliseconds timeout) {
  if (const auto endpoint = named_endpoint(common); !endpoint.empty()) {
    SANDBOX_TRY(auto options, client_options(timeout));
    SANDBOX_TRY(auto client, sandbox::Client::connect(endpoint, std::move(options)));
    return std::optional<Daemon>(Daemon{std::move(client), endpoint});
  }
  if (common.embedded) return std::optional<Daemon>();
  std::string tried;
  return look_around(timeout, tried);
}

Result<Daemon> need_daemon(const Common& common) {
  if (common.embedded) {
    return Error(ErrorCode::failed_precondition,
                 "sandboxes of this process end with it: `" + common.command + "` needs a daemon, leave out --embedded");
  }
  if (names_daemon(common)) {
    SANDBOX_TRY(auto daemon, find_daemon(common));
    return *std::move(daemon);
  }
  std::string tried;
  SANDBOX_TRY(auto daemon, look_around(std::chrono::minutes(2), tried));
  if (!daemon) return Error(ErrorCode::unavailable, "no daemon answers (" + tried + ")");
  return *std::move(daemon);
}

std::string daemon_hint(const Common& common, const Error& error) {
  switch (error.code()) {
    case ErrorCode::unavailable:
      return names_daemon(common) ? "is sandboxd running there? `sbx health --endpoint URL` asks it"
                                  : "start one with `systemctl start sandboxd` or `sandboxd --config FILE`, or name one with --endpoint or "
                                    "SANDBOXD_ENDPOINT; `sbx run` works without";
    case ErrorCode::unauthenticated: return "SBX_AUTH holds the bearer token; SBX_IDENTITY and SBX_KEY_FILE a tenant and its key";
    case ErrorCode::resource_exhausted: return "`sbx ls` shows what is running; `sbx rm` makes room";
    default: return {};
  }
}

int with_daemon(const Common& common, const std::function<Result<int>(Daemon&)>& work) {
  auto daemon = need_daemon(common);
  if (!daemon) return fail(common, daemon.error(), daemon_hint(common, daemon.error()));
  auto done = work(*daemon);
  if (!done) return fail(common, done.error(), daemon_hint(common, done.error()));
  return *done;
}

}  // namespace sbx
