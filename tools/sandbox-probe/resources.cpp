// Abuse: each attempt takes more of something until it is refused. Its argument is the limit that should hold; it gives up
// at twice that. Outside, bombs are not set off: what would hold them there is looked at instead.
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;

std::uint64_t limit_of(const std::string& argument) { return argument.empty() ? 0 : ::strtoull(argument.c_str(), nullptr, 10); }

Seen held(std::uint64_t count, std::uint64_t limit, const std::string& what) {
  const int why = errno;
  const std::string text = std::to_string(count) + " " + what;
  if (count > limit) return open_door("reached " + text + ", the limit is " + std::to_string(limit));
  return blocked_text("held at " + text + " of " + std::to_string(limit) + ": " + ::strerror(why));
}
/// What holds a bomb outside, by a resource limit of the process.
Seen limit_outside(int resource, const char* name, std::uint64_t limit) {
  rlimit now{};
  ::getrlimit(resource, &now);
  if (now.rlim_cur == RLIM_INFINITY || now.rlim_cur > limit)
    return open_door(std::string(name) + " of this process is above the limit; the bomb is not run, by design");
  return blocked_text(std::string("this process has ") + name + " " + std::to_string(now.rlim_cur));
}
/// The kernel's choice when memory runs out: this process, not the one that reports.
void volunteer() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  (void)!::write(fd, "1000", 4);
  ::close(fd);
}

Seen processes(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  if (outside) return limit_outside(RLIMIT_NPROC, "RLIMIT_NPROC", limit);
  std::uint64_t count = 0;
  for (; count < 2 * limit; ++count) {
    const pid_t pid = ::fork();
    if (pid == 0)
      for (;;) ::pause();
    if (pid < 0) break;
  }
  return held(count, limit, "processes");
}
void* wait_forever(void*) {
  for (;;) ::pause();
}
Seen threads(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  if (outside) return limit_outside(RLIMIT_NPROC, "RLIMIT_NPROC", limit);
  pthread_attr_t small;
  ::pthread_attr_init(&small);
  ::pthread_attr_setstacksize(&small, 16384);
  std::uint64_t count = 0;
  for (; count < 2 * limit; ++count) {
    pthread_t thread;
    const int why = ::pthread_create(&thread, &small, wait_forever, nullptr);
    errno = why;
    if (why) break;
  }
  return held(count, limit, "threads");
}

/// Memory bombs: `take` one more MiB; false when refused. Killed on the way counts as held.
Seen bomb(const std::string& argument, bool (*take)(std::uint64_t index), const char* what) {
  const std::uint64_t limit = limit_of(argument);
  if (outside) return limit_outside(RLIMIT_AS, "RLIMIT_AS", limit);
  volunteer();
  std::uint64_t bytes = 0;
  while (bytes < 2 * limit && take(bytes / kMebibyte)) {
    bytes += kMebibyte;
    *reached = bytes;
  }
  return held(bytes, limit, what);
}
bool touch(void* memory) {
  if (memory == MAP_FAILED) return false;
  ::memset(memory, 1, kMebibyte);
  return true;
}
Seen memory(const std::string& argument) {
  return bomb(
      argument, [](std::uint64_t) { return touch(::mmap(nullptr, kMebibyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); },
      "bytes of memory");
}
Seen memory_shared(const std::string& argument) {
  return bomb(
      argument, [](std::uint64_t) { return touch(::mmap(nullptr, kMebibyte, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)); },
      "bytes of shared memory");
}
bool append_mebibyte(int fd) {
  static char piece[kMebibyte];
  ::memset(piece, 1, sizeof piece);
  for (std::size_t done = 0; done < sizeof piece;) {
    const ssize_t size = ::write(fd, piece + done, sizeof piece - done);
    if (size <= 0) return false;
    done += static_cast<std::size_t>(size);
  }
  return true;
}
Seen memory_file(const std::string& argument) {
  static int fd;
  fd = static_cast<int>(::syscall(SYS_memfd_create, "sandbox-probe", 1));
  if (fd < 0) return blocked("memfd_create");
  return bomb(
      argument, [](std::uint64_t) { return append_mebibyte(fd); }, "bytes of a memfd");
}
Seen memory_tmpfs(const std::string& argument) {
  static int fd;
  if (outside) return limit_outside(RLIMIT_FSIZE, "RLIMIT_FSIZE", limit_of(argument));
  fd = ::open("/dev/shm/sandbox-probe", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return blocked("create a file in /dev/shm");
  ::unlink("/dev/shm/sandbox-probe");
  return bomb(
      argument, [](std::uint64_t) { return append_mebibyte(fd); }, "bytes of /dev/shm");
}
Seen memory_sysv(const std::string& argument) {
  return bomb(
      argument,
      [](std::uint64_t) {
        const int id = ::shmget(IPC_PRIVATE, kMebibyte, 0600 | IPC_CREAT);
        if (id < 0) return false;
        void* at = ::shmat(id, nullptr, 0);
        ::shmctl(id, IPC_RMID, nullptr);
        if (at == reinterpret_cast<void*>(-1)) return false;
        ::memset(at, 1, kMebibyte);
        return true;
      },
      "bytes of System V memory");
}
/// One MiB in kernel buffers: a pipe made large, or socket pairs filled until they block.
Seen memory_pipes(const std::string& argument) {
  return bomb(
      argument,
      [](std::uint64_t) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
        ::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(kMebibyte));
        static char piece[65536];
        std::size_t total = 0;
        for (ssize_t size; total < kMebibyte && (size = ::write(ends[1], piece, sizeof piece)) > 0;)
          total += static_cast<std::size_t>(size);
        return total > 0;
      },
      "bytes of pipes (at most, by their number)");
}
Seen memory_sockets(const std::string& argument) {
  return bomb(
      argument,
      [](std::uint64_t) {
        static char piece[32768];
        std::size_t total = 0;
        while (total < kMebibyte) {
          int ends[2];
          if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return false;
          const int wanted = 1 << 20;
          ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
          for (ssize_t size; total < kMebibyte && (size = ::write(ends[0], piece, sizeof piece)) > 0;)
            total += static_cast<std::size_t>(size);
        }
        return true;
      },
      "bytes of sockets");
}

Seen inodes(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  std::uint64_t count = 0;
  ::mkdir("/tmp/sandbox-probe-inodes", 0700);
  for (; count < 2 * limit; ++count) {
    const std::string path = "/tmp/sandbox-probe-inodes/" + std::to_string(count);
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) break;
    ::close(fd);
  }
  const int why = errno;
  for (std::uint64_t i = 0; i < count; ++i) ::unlink(("/tmp/sandbox-probe-inodes/" + std::to_string(i)).c_str());
  ::rmdir("/tmp/sandbox-probe-inodes");
  errno = why;
  return held(count, limit, "files");
}
Seen descriptors(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  std::uint64_t count = 0;
  while (count < 2 * limit && ::dup(0) >= 0) ++count;
  return held(count, limit, "descriptors");
}
Seen raise_limit(const std::string&) {
  rlimit now{};
  ::getrlimit(RLIMIT_NOFILE, &now);
  if (outside) return would_be_permitted(24, "CAP_SYS_RESOURCE", "raising RLIMIT_NOFILE");
  rlimit more = now;
  more.rlim_max += 1;
  return verdict(::setrlimit(RLIMIT_NOFILE, &more), "raise RLIMIT_NOFILE");
}
/// Watches live in kernel memory: as many instances as there are descriptors, each with watches on one directory per file.
Seen watches(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  std::uint64_t count = 0;
  while (count < 2 * limit) {
    const int fd = ::inotify_init1(IN_CLOEXEC);
    if (fd < 0) break;
    for (const char* path : {"/", "/tmp", "/usr", "/proc", "/dev", "/etc"}) ::inotify_add_watch(fd, path, IN_ALL_EVENTS);
    ++count;
  }
  return held(count, limit, "inotify instances");
}
Seen message_queues(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  mq_attr small{};
  small.mq_maxmsg = 10;
  small.mq_msgsize = 8192;
  std::uint64_t count = 0;
  for (; count < 2 * limit; ++count) {
    const std::string name = "/sandbox-probe-" + std::to_string(count);
    const mqd_t queue = ::mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &small);
    if (queue == static_cast<mqd_t>(-1)) break;
    ::close(queue);  // the queue lives on by its name
  }
  const int why = errno;
  for (std::uint64_t i = 0; i < count; ++i) ::mq_unlink(("/sandbox-probe-" + std::to_string(i)).c_str());
  errno = why;
  return held(count, limit, "POSIX message queues");
}

Seen fill(const std::string& argument, const char* path, bool deleted) {
  const std::uint64_t limit = limit_of(argument);
  std::uint64_t bytes = 0;
  const int fd = ::open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_TRUNC, 0600);
  if (fd < 0) return blocked(std::string("create ") + path);
  if (deleted) ::unlink(path);
  while (bytes < 2 * limit && append_mebibyte(fd)) *reached = bytes += kMebibyte;
  const int why = errno;
  ::close(fd);
  if (!deleted) ::unlink(path);
  errno = why;
  return held(bytes, limit, deleted ? "bytes in a deleted file" : "bytes in a file");
}
Seen disk(const std::string& argument) { return fill(argument, "/tmp/sandbox-probe-disk", false); }
Seen disk_deleted(const std::string& argument) { return fill(argument, "/tmp/sandbox-probe-disk", true); }

/// `argument`: the CPU limit in percent of one core. Two spinning processes for 400 ms of wall time.
Seen cpu(const std::string& argument) {
  const std::uint64_t percent = limit_of(argument);
  constexpr long kWallMs = 400;
  pid_t spinners[2];
  for (pid_t& pid : spinners) {
    pid = ::fork();
    if (pid == 0)
      for (volatile std::uint64_t n = 0;; n = n + 1) {
      }
  }
  const timespec wall{0, kWallMs * 1'000'000};
  ::nanosleep(&wall, nullptr);
  for (const pid_t pid : spinners) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  rusage used{};
  ::getrusage(RUSAGE_CHILDREN, &used);
  const std::uint64_t ms = static_cast<std::uint64_t>((used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                                                      (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000);
  // The quota counts in periods of 100 ms: the first may be a full one, and a throttled group may borrow one tick per core.
  const std::uint64_t most = kWallMs * percent / 100 + percent + 30;
  const std::string text =
      std::to_string(ms) + " ms of CPU time in " + std::to_string(kWallMs) + " ms at " + std::to_string(percent) + " %";
  return ms <= most ? blocked_text(text) : open_door(text);
}

Seen better_nice(const std::string&) {
  if (outside) return would_be_permitted(23, "CAP_SYS_NICE", "a better nice value");
  return verdict(::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0) - 1), "a better nice value");
}
Seen real_time(const std::string&) {
  if (outside) return would_be_permitted(23, "CAP_SYS_NICE", "SCHED_FIFO");
  sched_param one{};
  one.sched_priority = 1;
  return verdict(::syscall(SYS_sched_setscheduler, 0, 1 /* FIFO */, &one), "SCHED_FIFO");
}
Seen real_time_io(const std::string&) {
  if (outside) return would_be_permitted(23, "CAP_SYS_NICE", "the real-time class of I/O");
  return verdict(::syscall(SYS_ioprio_set, 1, 0, 1 << 13 | 4), "the real-time class of I/O");
}
Seen lock_memory(const std::string& argument) {
  const std::uint64_t limit = limit_of(argument);
  if (outside) return limit_outside(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", limit);
  return bomb(
      argument,
      [](std::uint64_t) {
        void* at = ::mmap(nullptr, kMebibyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return at != MAP_FAILED && ::mlock(at, kMebibyte) == 0;
      },
      "bytes of locked memory");
}

constexpr Attempt kAttempts[] = {
    {"processes", processes},
    {"threads", threads},
    {"memory", memory},
    {"memory_shared", memory_shared},
    {"memory_memfd", memory_file},
    {"memory_tmpfs", memory_tmpfs},
    {"memory_sysv", memory_sysv},
    {"memory_pipes", memory_pipes},
    {"memory_sockets", memory_sockets},
    {"memory_locked", lock_memory},
    {"inodes", inodes},
    {"many_descriptors", descriptors},
    {"rlimit", raise_limit},
    {"watches", watches},
    {"message_queues", message_queues},
    {"disk", disk},
    {"disk_deleted", disk_deleted},
    {"cpu", cpu},
    {"nice", better_nice},
    {"realtime", real_time},
    {"realtime_io", real_time_io},
};

}  // namespace

std::span<const Attempt> resource_attempts() { return kAttempts; }

int busy(int count) {
  for (int i = 1; i < count; ++i)
    if (::fork() == 0) break;
  for (int number = 1; number < 32; ++number) ::signal(number, SIG_IGN);
  (void)!::write(1, ".", 1);
  for (volatile std::uint64_t n = 0;; n = n + 1) {
    if (n % 4096 == 0) ::getppid();
  }
}

}  // namespace probe
