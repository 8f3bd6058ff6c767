#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "probe.hpp"

namespace probe {
namespace {

bool own_mounts = false;

constexpr int kPatienceMs = 8000;  ///< for one attempt; `sbx prove` bounds the whole run besides

std::vector<Attempt> all_attempts() {
  std::vector<Attempt> all;
  for (const auto part : {identity_attempts(), mount_attempts(), kernel_attempts(), agent_attempts(), file_attempts(), resource_attempts(),
                          network_attempts(), mark_attempts()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// One line per attempt: ID, verdict and detail between tabs. Control bytes of details are shown as '?'.
int output = 1;

void print(const std::string& id, const Seen& seen) {
  static constexpr const char* kNames[] = {"blocked", "open", "skipped"};
  std::string line = id + '\t' + kNames[static_cast<int>(seen.verdict)] + '\t';
  for (const char c : seen.detail.substr(0, 400)) line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  line += '\n';
  (void)!::write(output, line.data(), line.size());
}

std::string amount_reached() { return *reached ? " after " + std::to_string(*reached) : std::string(); }

struct Running {
  pid_t pid = -1;
  int answer = -1;
  Seen failure = {};
};

/// In a process group of its own: what an attempt leaves behind ends with it, whether it succeeds, hangs or is killed.
Running start(const Attempt& attempt, const std::string& argument) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) return {-1, -1, skipped(std::string("pipe: ") + ::strerror(errno))};
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setpgid(0, 0);
    ::close(pipe_ends[0]);
    // A control's attempts do succeed: each in mounts of its own, so that one does not change the next.
    if (own_mounts && ::unshare(CLONE_NEWNS) != 0) ::_exit(70);
    const Seen seen = attempt.run(argument);
    const std::string line = std::string(1, static_cast<char>('0' + static_cast<int>(seen.verdict))) + seen.detail.substr(0, 1000);
    (void)!::write(pipe_ends[1], line.data(), line.size());
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  if (pid > 0) return ::setpgid(pid, pid), Running{pid, pipe_ends[0], {}};
  ::close(pipe_ends[0]);
  return {-1, -1, skipped(std::string("fork: ") + ::strerror(errno))};
}
Seen finish(const Running& running) {
  if (running.pid < 0) return running.failure;
  pollfd ready{running.answer, POLLIN, 0};
  char line[1200];
  const ssize_t size = ::poll(&ready, 1, kPatienceMs) == 1 ? ::read(running.answer, line, sizeof line) : -1;
  ::close(running.answer);
  ::kill(-running.pid, SIGKILL);
  int status = 0;
  ::waitpid(running.pid, &status, 0);
  if (size > 0) return {static_cast<Verdict>(line[0] - '0'), std::string(line + 1, static_cast<std::size_t>(size - 1))};
  if (size == 0 && WIFSIGNALED(status))
    return blocked_text("the kernel ended it with signal " + std::to_string(WTERMSIG(status)) + amount_reached());
  return skipped("no answer in time" + amount_reached());
}

/// `words`: ID or ID=ARGUMENT; "all" for every one that needs no argument.
int try_all(const std::vector<std::string>& words) {
  const std::vector<Attempt> known = all_attempts();
  const auto find = [&](const std::string& word) {
    for (const Attempt& attempt : known)
      if (word.substr(0, word.find('=')) == attempt.id) return &attempt;
    return static_cast<const Attempt*>(nullptr);
  };
  const auto argument = [](const std::string& word) {
    return word.find('=') == word.npos ? std::string() : word.substr(word.find('=') + 1);
  };
  // Whoever is out of reach does not answer: those are waited for together.
  std::vector<Running> waiting(words.size());
  for (std::size_t i = 0; i < words.size(); ++i)
    if (words[i].compare(0, 4, "tcp=") == 0) waiting[i] = start(*find("tcp"), argument(words[i]));
  int unknown = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const Attempt* found = find(word);
    if (found == nullptr) {
      print(word, skipped("this probe has no such attempt"));
      ++unknown;
    } else if (outside && found->control == Control::never) {
      print(word, skipped(std::string("not run outside, by design: ") + found->why));
    } else {
      *reached = 0;
      print(word, finish(word.compare(0, 4, "tcp=") == 0 ? waiting[i] : start(*found, argument(word))));
    }
  }
  return unknown ? 64 : 0;
}

bool write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  const bool ok = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (fd >= 0) ::close(fd);
  return ok;
}

/// The control: the same attempts in namespaces of this process's own, where success changes nothing of the host. Not in a
/// user namespace when that can be helped: the host's own rules are what the sandbox's are compared with.
int control(const std::vector<std::string>& words) {
  outside = true;
  own_mounts = true;
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  constexpr int kSpaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID;
  if (uid == 0 ? ::unshare(kSpaces) != 0 : ::unshare(CLONE_NEWUSER | kSpaces) != 0) {
    std::fprintf(stderr, "sandbox-probe: no namespaces for a control run: %s\n", ::strerror(errno));
    return 69;
  }
  if (uid != 0) {
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1\n");
    write_file("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1\n");
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    std::fprintf(stderr, "sandbox-probe: private mounts: %s\n", ::strerror(errno));
    return 69;
  }
  // A place to try things that is nobody's: an own /tmp.
  if (::mount("control", "/tmp", "tmpfs", 0, "size=64m,mode=1777") != 0)
    std::fprintf(stderr, "sandbox-probe: own /tmp: %s\n", ::strerror(errno));
  const pid_t first = ::fork();
  if (first < 0) return 69;
  if (first > 0) {
    int status = 0;
    while (::waitpid(first, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 70;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    std::fprintf(stderr, "sandbox-probe: own /proc: %s\n", ::strerror(errno));
  // Whom attempts on a process aim at: an ordinary one, which has an environment and an open file.
  target = ::fork();
  if (target == 0) {
    (void)!::open("/dev/null", O_RDONLY);
    char program[] = "sandbox-probe", mode[] = "wait", variable[] = "SECRET=of the control";
    char* arguments[] = {program, mode, nullptr};
    char* variables[] = {variable, nullptr};
    ::execve("/proc/self/exe", arguments, variables);
    for (;;) ::pause();
  }
  const int code = try_all(words);
  ::fflush(stdout);
  ::_exit(code);  // process 1 of the namespace: everything in it ends now
}

int list() {
  for (const Attempt& attempt : all_attempts())
    std::printf("%s\t%s\t%s\n", attempt.id, attempt.control == Control::run ? "run" : "never", attempt.why);
  return 0;
}

}  // namespace
}  // namespace probe

int main(int argc, char** argv) {
  for (int fd = 3; fd < 4096; ++fd)
    if (::fcntl(fd, F_GETFD) >= 0) ++probe::inherited_descriptors;
  probe::reached = static_cast<volatile std::uint64_t*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (probe::reached == MAP_FAILED) return 71;
  const std::vector<std::string> words(argv + (argc > 1 ? 2 : 1), argv + argc);
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "wait")
    for (;;) ::pause();
  if (mode == "list") return probe::list();
  if (mode == "try") return probe::try_all(words);
  // Outside, answers go to descriptor 3, which whoever starts a control gives it.
  if (mode == "control" || mode == "beside") probe::output = 3;
  if (mode == "control") return probe::control(words);
  if (mode == "beside") return probe::outside = true, probe::try_all(words);
  if (mode == "race" && words.size() == 2) return probe::race(words[0], words[1]);
  if (mode == "busy" && words.size() == 1) return probe::busy(std::atoi(words[0].c_str()));
  if (mode == "mark") return probe::leave_marks();
  std::fprintf(stderr,
               "usage: sandbox-probe list | try ID[=ARGUMENT]… | control ID[=ARGUMENT]… | beside ID[=ARGUMENT]… |\n"
               "                     race DIRECTORY OUTSIDE | busy N | mark | wait\n");
  return 64;
}
