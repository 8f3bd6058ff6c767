#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include <sandbox/version.hpp>

#include "core/unique_fd.hpp"
#include "notify.hpp"
#include "print.hpp"
#include "server/service.hpp"
#include "watch.hpp"

/// sandboxd: reads its settings, runs the service, listens to signals and to its configuration and certificate files.
namespace {

namespace server = sandbox::server;

/// A file that was written is often written again at once.
constexpr int kSettleMs = 500;

void print(const std::vector<server::Diagnostic>& list, const char* kind) {
  for (const server::Diagnostic& one : list) std::fprintf(stderr, "%s: %s\n", kind, one.to_string().c_str());
}

/// What a file says now goes into the running service, unless something is wrong with it.
void reload(server::Service& service, server::Log& log, const std::string& path) {
  const server::LoadedConfig loaded = server::load_config(path);
  for (const server::Diagnostic& one : loaded.warnings) log.warning("configuration", {{"at", one.to_string()}});
  if (!loaded.ok()) {
    for (const server::Diagnostic& one : loaded.errors) log.error("configuration not taken up", {{"at", one.to_string()}});
    return;
  }
  const auto differences = service.reload(loaded.config);
  if (!differences) return log.error("configuration not taken up", {{"error", differences.error().to_string()}});
  for (const server::ConfigChange& change : *differences) {
    if (change.live) log.info("configuration changed", {{"key", change.key}});
    else log.warning("configuration change needs a restart", {{"key", change.key}});
  }
}

void renew_certificate(server::Service& service, server::Log& log) {
  if (const auto renewed = service.renew_certificate(); !renewed)
    log.error("certificate not taken up, the old one stays", {{"error", renewed.error().to_string()}});
  else log.info("certificate taken up");
}

/// Serves until SIGINT, which ends the sandboxes, SIGQUIT, which leaves them for the next daemon, or SIGTERM, which does
/// what server.keep_sandboxes_on_stop says at that time.
server::Leave serve(server::Service& service, server::Log& log, const std::string& path, const sandbox::core::UniqueFd& signals) {
  enum { kConfig, kCertificate, kKey, kFiles };
  // Those in use: what a changed configuration names needs a restart.
  const server::Config::Server at_start = service.config().server;
  const bool has_tls = !at_start.tcp.empty() && !at_start.tls_cert.empty();
  std::optional<sandboxd::FileWatch> watches[kFiles];
  if (!path.empty()) watches[kConfig] = sandboxd::FileWatch::on(path);
  if (has_tls) {
    watches[kCertificate] = sandboxd::FileWatch::on(at_start.tls_cert);
    watches[kKey] = sandboxd::FileWatch::on(at_start.tls_key);
  }
  bool changed[kFiles] = {};
  for (;;) {
    pollfd polled[1 + kFiles] = {{signals.get(), POLLIN, 0}};
    for (int i = 0; i < kFiles; ++i) polled[1 + i] = {watches[i] ? watches[i]->fd() : -1, POLLIN, 0};
    const bool waits = changed[kConfig] || changed[kCertificate] || changed[kKey];
    const int ready = ::poll(polled, 1 + kFiles, waits ? kSettleMs : -1);
    if (ready == 0) {  // quiet for a while after a change
      if (std::exchange(changed[kConfig], false)) reload(service, log, path);
      // Both at once: between the two they are no pair.
      if (std::exchange(changed[kCertificate], false) | std::exchange(changed[kKey], false)) renew_certificate(service, log);
      continue;
    }
    for (int i = 0; i < kFiles; ++i)
      if ((polled[1 + i].revents & POLLIN) != 0 && watches[i]->drain()) changed[i] = true;
    if ((polled[0].revents & POLLIN) == 0) continue;
    signalfd_siginfo info{};
    if (::read(signals.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) continue;
    if (info.ssi_signo != SIGHUP) {
      log.info("stopping", {{"signal", info.ssi_signo}});
      const bool keep = info.ssi_signo == SIGQUIT || (info.ssi_signo == SIGTERM && service.config().server.keep_sandboxes_on_stop);
      return keep ? server::Leave::keep : server::Leave::destroy;
    }
    sandboxd::notify("RELOADING=1");
    reload(service, log, path);
    if (has_tls) renew_certificate(service, log);
    sandboxd::notify("READY=1");
  }
}

int run(const std::string& path, const server::LoadedConfig& loaded) {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&handled, signal);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);  // before any thread is started
  ::signal(SIGPIPE, SIG_IGN);
  const sandbox::core::UniqueFd signals(::signalfd(-1, &handled, SFD_CLOEXEC));

  server::ServiceOptions options;
  options.config = loaded.config;
  const auto format = loaded.config.log.json ? server::Log::Format::json : server::Log::Format::text;
  options.log = std::make_shared<server::Log>(loaded.config.log.level, format);
  const auto log = options.log;
  for (const server::Diagnostic& one : loaded.warnings) log->warning("configuration", {{"at", one.to_string()}});
  auto service = server::Service::open(std::move(options));
  if (!service) {
    log->error("not started", {{"error", service.error().to_string()}});
    log->flush();
    return 1;
  }
  log->info("ready", {{"version", SANDBOX_VERSION_STRING}, {"pid", ::getpid()}});
  sandboxd::notify("READY=1");
  const auto leave = serve(**service, *log, path, signals);
  sandboxd::notify("STOPPING=1");
  const auto stopped = (*service)->stop(leave);
  if (!stopped) log->error("stopped badly", {{"error", stopped.error().to_string()}});
  service->reset();
  log->info("stopped");
  log->flush();
  return stopped ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"sandboxd: serves sandboxes over HTTP and WebSocket on a unix socket and, if configured, TCP"};
  std::string path;
  bool check = false, show = false;
  app.add_option("--config", path, "TOML file; without it, the defaults and the environment");
  app.add_flag("--check", check, "Check the configuration and exit: 0 good, 1 bad");
  app.add_flag("--print-config", show, "Print the configuration in force and exit");
  app.set_version_flag("--version", "sandboxd " SANDBOX_VERSION_STRING);
  CLI11_PARSE(app, argc, argv);

  const server::LoadedConfig loaded = server::load_config(path);
  if (check || show || !loaded.ok()) print(loaded.warnings, "warning");
  print(loaded.errors, "error");
  if (!loaded.ok()) return 1;
  if (check) {
    if (const auto checked = server::Service::check(loaded.config); !checked) {
      server::Diagnostic one{path, 0, 0, checked.error().to_string()};
      print({one}, "error");
      return 1;
    }
  }
  if (show) std::fputs(sandboxd::print_config(loaded.config).c_str(), stdout);
  if (check) std::printf("%s: good\n", path.empty() ? "defaults" : path.c_str());
  if (check || show) return 0;
  return run(path, loaded);
}
