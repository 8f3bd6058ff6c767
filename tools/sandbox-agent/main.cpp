/// Process 1 of every sandbox.
///
/// Contract with whoever starts it: descriptor 3 (or `--fd N`) is a connected stream socket to the client; the environment
/// is what commands start with; the current directory is where they start; SANDBOX_OOM_FD=4 in the environment names a
/// descriptor with a line "oom_kill N"; SANDBOX_SCORE_FD=5 one of /proc/self/oom_score_adj, open for writing, so that the
/// OOM killer prefers programs to the agent although /proc is read-only; SANDBOX_OPEN_FILES=N is the limit of descriptors of
/// each command, which the agent itself needs more of; SANDBOX_LOOK says that it may look for the next request for a moment
/// before it sleeps; SANDBOX_DOOR_FD=5 a socket through which later clients' sockets come
/// (agent::Transport). All are optional. The client speaks first, plain or sealed. Runs outside of sandboxes too (tests):
/// nothing here depends on being process 1. Ends when the socket does, with a door when the door does, and takes every
/// process below it along.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "agent/children.hpp"
#include "agent/facts.hpp"
#include "agent/loop.hpp"
#include "agent/server.hpp"
#include "agent/transport.hpp"
#include "core/sync_point.hpp"
#include "core/text.hpp"

extern char** environ;

namespace {

using sandbox::core::UniqueFd;

constexpr int kDefaultSocket = 3;
constexpr std::string_view kOomVariable = "SANDBOX_OOM_FD";
constexpr std::string_view kScoreVariable = "SANDBOX_SCORE_FD";
constexpr std::string_view kFilesVariable = "SANDBOX_OPEN_FILES";
constexpr std::string_view kLookVariable = "SANDBOX_LOOK";
constexpr std::string_view kDoorVariable = "SANDBOX_DOOR_FD";

[[noreturn]] void usage() {
  constexpr std::string_view kText = "usage: sandbox-agent [--fd N], with a connected stream socket at descriptor N (3)\n";
  (void)!::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(64);
}

/// Descriptors 0–2 must be taken, or the agent's own would get those numbers and lose them to the first program.
void fill_stdio() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) return;
}

/// Blocks all signals and undoes ignored ones, which programs would inherit.
void settle_signals(std::string_view own_status) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  const std::uint64_t ignored = sandbox::agent::ignored_signals(own_status);
  for (int signal = 1; ignored != 0 && signal <= 64; ++signal)
    if (ignored >> (signal - 1) & 1) ::signal(signal, SIG_DFL);
}

/// The descriptor an environment variable names.
UniqueFd take_descriptor(std::string_view variable) {
  const char* text = ::getenv(variable.data());
  if (!text) return {};
  const auto fd = sandbox::core::parse_number<int>(text);
  if (!fd || *fd < 3 || ::fcntl(*fd, F_SETFD, FD_CLOEXEC) != 0) return {};
  return UniqueFd(*fd);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace sandbox;
  int socket_number = kDefaultSocket;
  if (argc == 3 && std::string_view(argv[1]) == "--fd") {
    const auto number = core::parse_number<int>(argv[2]);
    if (!number || *number < 0) usage();
    socket_number = *number;
  } else if (argc > 1) {
    usage();
  }
  if (::fcntl(socket_number, F_SETFD, FD_CLOEXEC) != 0) usage();

  SANDBOX_SYNC_POINT("agent.started");
  fill_stdio();
  const std::string own_status = agent::read_own_status();
  settle_signals(own_status);
  ::umask(022);

  agent::Loop loop;
  agent::Agent::Settings settings;
  settings.oom_counter = take_descriptor(kOomVariable);
  settings.oom_score = take_descriptor(kScoreVariable);
  if (const char* text = ::getenv(kFilesVariable.data())) settings.open_files = core::parse_number<std::uint64_t>(text).value_or(0);
  settings.looks = ::getenv(kLookVariable.data()) != nullptr;
  settings.environment = agent::Environment::from(environ);
  settings.environment.unset(kOomVariable);
  settings.environment.unset(kScoreVariable);
  settings.environment.unset(kFilesVariable);
  settings.environment.unset(kLookVariable);
  settings.environment.unset(kDoorVariable);
  char workdir[4096];
  settings.workdir = ::getcwd(workdir, sizeof workdir) && workdir[0] == '/' ? workdir : "/";
  agent::Agent shared(loop, std::move(settings));
  // After /proc/self/oom_score_adj was opened, which then belongs to root; before anybody could be looking.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);

  agent::Transport transport(shared, UniqueFd(socket_number), take_descriptor(kDoorVariable));
  if (auto started = transport.start(own_status); !started) {
    started.ignore("said by the exit status");
    ::_exit(70);
  }
  SANDBOX_SYNC_POINT("agent.serving");
  loop.run();
  if (::getpid() != 1) shared.children().kill_descendants();   // with process 1 its whole namespace ends
  ::_exit(0);
}
