#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <sandbox/client.hpp>

#include "command.hpp"

/// Which daemon. One that is named (--endpoint, $SANDBOXD_ENDPOINT, $SANDBOX_HOST) must answer; otherwise the local ones are
/// tried: unix:///var/run/sandboxd/sandboxd.sock, then http://localhost:7522. Who we are comes from the environment: SBX_AUTH
/// (bearer token), SBX_IDENTITY with SBX_KEY_FILE (tenant and its signing key), SBX_CA_FILE (authorities for https).
namespace sbx {

/// A connected daemon and how it is called.
struct Daemon {
  sandbox::Client client;
  std::string endpoint;
};

/// True when the caller named a daemon.
bool names_daemon(const Common& common);

/// Nothing when none was named and none answers, or with --embedded. `timeout` is for each request of the client.
/// Errors: of the connection, when one was named; invalid_argument (key file).
sandbox::Result<std::optional<Daemon>> find_daemon(const Common& common, std::chrono::milliseconds timeout = std::chrono::minutes(2));

/// The same where there must be one. Errors: as above; unavailable, which says what was tried; failed_precondition
/// (--embedded with a command that cannot work without a daemon).
sandbox::Result<Daemon> need_daemon(const Common& common);

/// What to do about a failure of need_daemon or of a call on it, or "".
std::string daemon_hint(const Common& common, const sandbox::Error& error);

/// Runs `work` with the daemon and tells a failure; the exit code.
int with_daemon(const Common& common, const std::function<sandbox::Result<int>(Daemon&)>& work);

}  // namespace sbx
