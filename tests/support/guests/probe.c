/* probe ID: tries one way out of a sandbox and says what happened, as one line on standard output:
 *   blocked DETAIL   the attempt failed
 *   open DETAIL      the attempt worked: a hole, or the proof in a control run that the probe bites
 *   skipped DETAIL   this machine has no such thing to try
 * `probe list` prints all ids. Static, no library beyond libc. A probe that succeeds undoes nothing: run it only where
 * its effect is harmless, or inside a sandbox. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#ifndef AF_PACKET
#define AF_PACKET 17
#endif
#ifndef AF_NETLINK
#define AF_NETLINK 16
#endif
#ifndef AF_ALG
#define AF_ALG 38
#endif

static int blocked(const char* what) { return printf("blocked %s: %s\n", what, strerror(errno)), 0; }
static int blocked_text(const char* what) { return printf("blocked %s\n", what), 0; }
static int open_door(const char* what) { return printf("open %s\n", what), 0; }
static int skipped(const char* what) { return printf("skipped %s\n", what), 0; }
static int verdict(long result, const char* what) { return result < 0 ? blocked(what) : open_door(what); }

/* ---- identity ---- */
static long status_hex(const char* key, unsigned long long* value) {
  char line[512];
  FILE* f = fopen("/proc/self/status", "re");
  if (!f) return -1;
  long found = -1;
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, key, strlen(key))) { *value = strtoull(line + strlen(key), NULL, 16); found = 0; }
  fclose(f);
  return found;
}
static int capabilities(void) {
  const char* keys[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
  for (int i = 0; i < 5; ++i) {
    unsigned long long v = 1;
    if (status_hex(keys[i], &v)) return skipped("no /proc/self/status");
    if (v) return printf("open %s %llx\n", keys[i], v), 0;
  }
  return blocked_text("all capability sets are empty");
}
static int no_new_privs(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? blocked_text("no_new_privs is set") : open_door("no_new_privs is not set"); }
static int seccomp_mode(void) {
  unsigned long long v = 0;
  if (status_hex("Seccomp:", &v)) return skipped("no /proc/self/status");
  return v == 2 ? blocked_text("filter mode") : open_door("no seccomp filter");
}
static int setuid_binary(void) {
  /* A setuid program must not change our identity: run su/mount's file as a script-less exec and look at its euid. */
  struct stat st;
  const char* candidates[] = {"/usr/bin/su", "/bin/su", "/usr/bin/mount", "/usr/bin/passwd"};
  for (int i = 0; i < 4; ++i) {
    if (stat(candidates[i], &st) || !(st.st_mode & S_ISUID)) continue;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return blocked_text("setuid files exist, no_new_privs ignores the bit");
    return open_door("setuid files work here");
  }
  return blocked_text("no setuid file is visible");
}
static int setgroups_door(void) { gid_t g = 0; return verdict(setgroups(1, &g), "setgroups"); }
static int host_uid_map(void) {
  FILE* f = fopen("/proc/self/uid_map", "re");
  unsigned inside = 1, outside = 0, count = 0;
  if (!f || fscanf(f, "%u %u %u", &inside, &outside, &count) != 3) return skipped("no uid_map");
  fclose(f);
  return outside == 0 ? open_door("our uid is the host's root") : blocked_text("mapped to an unprivileged host id");
}

/* ---- namespaces ---- */
static int unshare_user(void) { return verdict(unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)"); }
static int unshare_mount(void) { return verdict(unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)"); }
static int clone_user(void) {
  long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  if (pid > 0) waitpid(pid, NULL, 0);
  return verdict(pid, "clone(CLONE_NEWUSER)");
}
struct clone3_args { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };
static int clone3_user(void) {
  struct clone3_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
  long pid = syscall(435, &args, sizeof args);
  if (pid == 0) _exit(0);
  if (pid > 0) waitpid(pid, NULL, 0);
  return verdict(pid, "clone3(CLONE_NEWUSER)");
}
static int setns_init(void) {
  int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return blocked("open /proc/1/ns/mnt");
  return verdict(setns(fd, 0), "setns(/proc/1/ns/mnt)");
}
#if defined(__x86_64__)
static long int80(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return result;
}
static int in_child(int (*body)(void)) {
  /* The kernel may answer a forbidden entry with SIGSYS or SIGSEGV: that is blocked too. */
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) { int r = body(); fflush(stdout); _exit(r); }
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) printf("blocked by signal %d\n", WTERMSIG(status));
  return 0;
}
static int int80_body(void) {
  long r = int80(20 /* getpid */, 0, 0, 0);
  if (r > 0) return open_door("int 0x80 getpid answered");
  errno = (int)-r;
  return blocked("int 0x80");
}
static int int80_entry(void) { return in_child(int80_body); }
static int x32_body(void) {
  long r = syscall(0x40000000 | 39 /* getpid */);
  if (r > 0) return open_door("x32 getpid answered");
  return blocked("x32 entry");
}
static int x32_entry(void) { return in_child(x32_body); }
#endif

/* ---- mounts ---- */
static int mount_tmpfs(void) { return verdict(mount("none", "/tmp", "tmpfs", 0, NULL), "mount(tmpfs)"); }
static int mount_bind(void) { return verdict(mount("/", "/tmp", NULL, MS_BIND, NULL), "mount(MS_BIND)"); }
static int remount_root(void) { return verdict(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL), "remount / read-write"); }
static int umount_proc_mask(void) { return verdict(umount2("/proc/sys", MNT_DETACH), "umount(/proc/sys)"); }
static int fsopen_door(void) { return verdict(syscall(430, "tmpfs", 0), "fsopen(tmpfs)"); }
static int open_tree_door(void) { return verdict(syscall(428, AT_FDCWD, "/", 1 /* CLONE */), "open_tree(CLONE)"); }
static int move_mount_door(void) { return verdict(syscall(429, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0), "move_mount"); }
static int mount_setattr_door(void) {
  uint64_t attr[4] = {0, 1 /* RDONLY */, 0, 0};
  return verdict(syscall(442, AT_FDCWD, "/", 0, attr, sizeof attr), "mount_setattr(/)");
}
static int pivot_root_door(void) { return verdict(syscall(SYS_pivot_root, "/", "/tmp"), "pivot_root"); }
static int chroot_door(void) { return verdict(chroot("/tmp"), "chroot"); }
static int write_root(void) { int fd = open("/probe-was-here", O_CREAT | O_WRONLY | O_CLOEXEC, 0600); if (fd >= 0) unlink("/probe-was-here"); return verdict(fd, "create a file in /"); }
static int write_usr(void) { int fd = open("/usr/probe-was-here", O_CREAT | O_WRONLY | O_CLOEXEC, 0600); if (fd >= 0) unlink("/usr/probe-was-here"); return verdict(fd, "create a file in /usr"); }
static int exec_from_tmp(void) {
  int fd = open("/tmp/probe-exec", O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0700);
  if (fd < 0) return blocked("create /tmp/probe-exec");
  if (write(fd, "#!/bin/sh\nexit 0\n", 17) != 17) return blocked("write /tmp/probe-exec");
  close(fd);
  pid_t pid = fork();
  if (pid == 0) { execl("/tmp/probe-exec", "probe-exec", (char*)NULL); _exit(errno == EACCES ? 77 : 78); }
  int status = 0;
  waitpid(pid, &status, 0);
  unlink("/tmp/probe-exec");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return open_door("/tmp executes");
  errno = EACCES;
  return blocked("exec from /tmp");
}
static int mknod_door(void) {
  int r = mknod("/root/probe-null", S_IFCHR | 0600, (1 << 8) | 3);
  if (!r) unlink("/root/probe-null");
  return verdict(r, "mknod(char device)");
}
static int name_to_handle(void) {
  struct { unsigned bytes; int type; unsigned char data[128]; } handle = {.bytes = 128};
  int mount_id;
  if (syscall(303, AT_FDCWD, "/root", &handle, &mount_id, 0)) return blocked("name_to_handle_at");
  int dir = open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return verdict(syscall(304, dir, &handle, O_RDONLY), "open_by_handle_at");
}

/* ---- kernel surface ---- */
static int bpf_door(void) {
  uint32_t attr[32] = {2 /* ARRAY */, 4, 4, 1};
  return verdict(syscall(321, 0, attr, 72), "bpf(MAP_CREATE)");
}
static int perf_door(void) { char attr[120] = {0}; *(uint32_t*)(attr + 4) = sizeof attr; *(uint32_t*)attr = 1; return verdict(syscall(298, attr, 0, -1, -1, 0), "perf_event_open"); }
static int userfaultfd_door(void) { return verdict(syscall(323, O_CLOEXEC | 1), "userfaultfd"); }
static int io_uring_door(void) { char params[120] = {0}; return verdict(syscall(425, 4, params), "io_uring_setup"); }
static int init_module_door(void) { long r = syscall(175, "", 0, ""); if (r < 0 && errno != EPERM && errno != ENOSYS) return printf("open init_module looked at its argument (%s)\n", strerror(errno)), 0; return verdict(r, "init_module"); }
static int finit_module_door(void) { long r = syscall(313, -1, "", 0); if (r < 0 && errno != EPERM && errno != ENOSYS) return printf("open finit_module looked at its argument (%s)\n", strerror(errno)), 0; return verdict(r, "finit_module"); }
static int kexec_door(void) { long r = syscall(246, 0, 0, 0, 0); return verdict(r, "kexec_load"); }
static int keyctl_door(void) { return verdict(syscall(250, 0 /* GET_KEYRING_ID */, -3, 1), "keyctl"); }
static int add_key_door(void) { return verdict(syscall(248, "user", "probe", "x", 1, -2 /* process keyring */), "add_key"); }
static int kernel_log(void) { char b[64]; return verdict(syscall(SYS_syslog, 3, b, sizeof b), "syslog(READ_ALL)"); }
static int dev_kmsg(void) { return verdict(open("/dev/kmsg", O_RDONLY | O_CLOEXEC | O_NONBLOCK), "open /dev/kmsg"); }
static int dev_mem(void) { return verdict(open("/dev/mem", O_RDONLY | O_CLOEXEC), "open /dev/mem"); }
static int dev_disk(void) {
  const char* disks[] = {"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop-control", "/dev/kvm", "/dev/fuse", "/dev/net/tun"};
  for (int i = 0; i < 7; ++i) if (open(disks[i], O_RDONLY | O_CLOEXEC) >= 0) return printf("open %s\n", disks[i]), 0;
  return blocked("no host device opens");
}
static int kallsyms(void) {
  FILE* f = fopen("/proc/kallsyms", "re");
  char line[256];
  if (!f) return blocked("open /proc/kallsyms");
  while (fgets(line, sizeof line, f)) if (strncmp(line, "0000000000000000", 16)) return open_door("kernel addresses are visible");
  return blocked_text("addresses are zero");
}
static int kcore(void) { return verdict(open("/proc/kcore", O_RDONLY | O_CLOEXEC), "open /proc/kcore"); }
static int proc_keys(void) {
  FILE* f = fopen("/proc/keys", "re");
  char line[256];
  if (!f) return blocked("open /proc/keys");
  return fgets(line, sizeof line, f) ? open_door("keys are listed") : blocked_text("masked");
}
static int sysrq(void) { return verdict(open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC), "open /proc/sysrq-trigger"); }
static int core_pattern(void) { return verdict(open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC), "open core_pattern for writing"); }
static int proc_sys_hostname(void) { return verdict(open("/proc/sys/kernel/hostname", O_WRONLY | O_CLOEXEC), "open kernel/hostname for writing"); }
static int proc_sys_net(void) { return verdict(open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC), "open net/ipv4/ip_forward for writing"); }
static int sys_write(void) { return verdict(open("/sys/kernel/uevent_helper", O_WRONLY | O_CLOEXEC), "open /sys/kernel/uevent_helper"); }
static int cgroup_write(void) {
  const char* paths[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/tasks", "/sys/fs/cgroup/memory/release_agent"};
  for (int i = 0; i < 3; ++i) if (open(paths[i], O_WRONLY | O_CLOEXEC) >= 0) return printf("open %s\n", paths[i]), 0;
  return blocked("cgroup files");
}
static int set_hostname(void) { return verdict(sethostname("probe", 5), "sethostname"); }
static int set_clock(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return verdict(clock_settime(CLOCK_REALTIME, &t), "clock_settime"); }
static int reboot_door(void) { long r = syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* CAD_OFF */, 0); return verdict(r, "reboot(CAD_OFF)"); }
static int swapon_door(void) { long r = syscall(SYS_swapon, "/nonexistent", 0); if (r < 0 && errno == ENOENT) return open_door("swapon looked for the file"); return verdict(r, "swapon"); }
static int quotactl_door(void) { long r = syscall(SYS_quotactl, 0x800007 << 8, 0, 0, 0); return r < 0 && errno != EPERM && errno != ENOSYS && errno != ENODEV ? open_door("quotactl reached") : blocked("quotactl"); }
static int iopl_door(void) {
#if defined(__x86_64__)
  return verdict(syscall(SYS_iopl, 3), "iopl(3)");
#else
  return skipped("x86 only");
#endif
}
static int nice_door(void) { return verdict(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 1), "a better nice value"); }
static int realtime_door(void) { struct sched_param p = {.sched_priority = 1}; return verdict(syscall(SYS_sched_setscheduler, 0, 1 /* FIFO */, &p), "SCHED_FIFO"); }
static int rlimit_door(void) {
  struct rlimit now, more;
  getrlimit(RLIMIT_NOFILE, &now);
  more = now;
  more.rlim_max += 1;
  return verdict(setrlimit(RLIMIT_NOFILE, &more), "raise RLIMIT_NOFILE");
}
static int tiocsti(void) {
  int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
  if (fd < 0) fd = 0;
  char c = 'x';
  return verdict(ioctl(fd, TIOCSTI, &c), "TIOCSTI");
}
static int tioclinux(void) { char c = 2; return verdict(ioctl(0, 0x541C, &c), "TIOCLINUX"); }

/* ---- the agent: process 1 ---- */
static int agent_ptrace(void) { return verdict(ptrace(PTRACE_SEIZE, 1, 0, 0), "ptrace(SEIZE, 1)"); }
static int agent_readv(void) {
  char b[8];
  struct iovec local = {b, 8}, remote = {(void*)0x400000, 8};
  long r = syscall(310, 1, &local, 1, &remote, 1, 0);
  if (r < 0 && errno == EFAULT) return open_door("process_vm_readv reached the agent's memory");
  return verdict(r, "process_vm_readv(1)");
}
static int agent_pidfd_getfd(void) {
  int fd = (int)syscall(434, 1, 0);
  if (fd < 0) return blocked("pidfd_open(1)");
  return verdict(syscall(438, fd, 3, 0), "pidfd_getfd(1, 3)");
}
static int agent_mem(void) { return verdict(open("/proc/1/mem", O_RDWR | O_CLOEXEC), "open /proc/1/mem"); }
static int agent_exe(void) { return verdict(open("/proc/1/exe", O_WRONLY | O_CLOEXEC), "open /proc/1/exe for writing"); }
static int agent_fds(void) { return verdict(open("/proc/1/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open /proc/1/fd"); }
static int agent_environ(void) {
  char b[16];
  int fd = open("/proc/1/environ", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return blocked("open /proc/1/environ");
  return verdict(read(fd, b, sizeof b) > 0 ? 0 : -1, "read /proc/1/environ");
}
static int agent_root(void) { return verdict(open("/proc/1/root/.", O_PATH | O_CLOEXEC), "open /proc/1/root"); }
static int agent_kill(void) {
  kill(1, SIGKILL);
  kill(1, SIGSTOP);
  kill(1, SIGTERM);
  struct timespec t = {0, 20000000};
  nanosleep(&t, NULL);
  char state = 0;
  FILE* f = fopen("/proc/1/stat", "re");
  if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1) return skipped("no /proc/1/stat");
  return state == 'T' || state == 'Z' ? open_door("process 1 stopped") : blocked_text("process 1 ignores signals from inside");
}
static int agent_prlimit(void) {
  struct rlimit limit = {0, 0};
  return verdict(syscall(302, 1, RLIMIT_NOFILE, NULL, &limit), "read the agent's rlimits");
}
static int agent_set_rlimit(void) {
  struct rlimit limit = {4096, 4096};
  return verdict(syscall(302, 1, RLIMIT_FSIZE, &limit, NULL), "lower the agent's RLIMIT_FSIZE");
}

/* ---- files of the host ---- */
static int host_secret(void) {
  const char* paths[] = {"/etc/shadow", "/etc/gshadow", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key", "/etc/sudoers",
                         "/root/.ssh/id_rsa", "/root/.bashrc", "/run/docker.sock", "/var/run/docker.sock", "/etc/machine-id", "/var/log/dpkg.log"};
  for (unsigned i = 0; i < sizeof paths / sizeof *paths; ++i) {
    struct stat st;
    if (!stat(paths[i], &st)) return printf("open %s is visible\n", paths[i]), 0;
  }
  return blocked("host secrets");
}
static int host_home(void) {
  struct stat st;
  if (!stat("/home", &st)) {
    FILE* ls = popen("ls -A /home", "re");
    char b[8];
    size_t n = ls ? fread(b, 1, sizeof b, ls) : 0;
    if (ls) pclose(ls);
    if (n) return open_door("/home has entries");
  }
  return blocked_text("/home is absent or empty");
}
static int mountinfo_paths(void) {
  /* The root field (4th) of mountinfo tells where on the host a bind comes from. */
  char line[4096];
  FILE* f = fopen("/proc/self/mountinfo", "re");
  if (!f) return blocked("open mountinfo");
  while (fgets(line, sizeof line, f)) {
    if (strstr(line, "/var/lib/") || strstr(line, "/home/") || strstr(line, "lowerdir=/")) return printf("open %.200s", line), 0;
  }
  return blocked_text("no host path below /var/lib or /home is named");
}
static int leaked_fds(void) {
  int leaked = 0;
  for (int fd = 3; fd < 1024; ++fd) if (fcntl(fd, F_GETFD) >= 0) ++leaked;
  return leaked ? printf("open %d descriptors beyond 2\n", leaked), 0 : blocked_text("only 0, 1 and 2");
}
static int only_own_processes(void) {
  /* In an own pid namespace the agent is 1 and knows nothing above a few dozen processes. */
  char comm[64] = "";
  FILE* f = fopen("/proc/1/comm", "re");
  if (!f || !fgets(comm, sizeof comm, f)) return skipped("no /proc/1/comm");
  return strstr(comm, "sandbox-agent") || strstr(comm, "memfd") || strstr(comm, "3") ? blocked_text("process 1 is the agent") : printf("open process 1 is %s", comm), 0;
}

/* ---- network and IPC ---- */
static int socket_door(int family, int type, int protocol, const char* what) {
  int fd = socket(family, type, protocol);
  if (fd < 0) return blocked(what);
  close(fd);
  return open_door(what);
}
static int raw_socket(void) { return socket_door(AF_INET, SOCK_RAW, 1, "raw ICMP socket"); }
static int packet_socket(void) { return socket_door(AF_PACKET, SOCK_RAW, 0, "packet socket"); }
static int vsock_socket(void) { return socket_door(AF_VSOCK, SOCK_STREAM, 0, "vsock socket"); }
static int alg_socket(void) { return socket_door(AF_ALG, SOCK_SEQPACKET, 0, "AF_ALG socket"); }
static int netlink_admin(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW, 0);
  if (fd < 0) return blocked("netlink socket");
  struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; unsigned char family, pad; uint16_t t; int32_t index; uint32_t fl, change; } req =
      {32, 16 /* NEWLINK */, 5 /* REQUEST|ACK */, 1, 0, 0, 0, 0, 1, 0, 1 /* IFF_UP: take lo down */};
  if (send(fd, &req, sizeof req, 0) < 0) return blocked("netlink send");
  unsigned char answer[512];
  long n = recv(fd, answer, sizeof answer, 0);
  int error = n >= 20 ? *(int*)(answer + 16) : -1;
  errno = -error;
  return error < 0 ? blocked("take loopback down") : open_door("loopback taken down");
}
static int outside_network(void) {
  /* Only with Network::none: nothing but lo exists, so no packet can leave. */
  struct if_nameindex* all = if_nameindex();
  if (!all) return blocked("if_nameindex");
  for (struct if_nameindex* i = all; i->if_index; ++i) if (strcmp(i->if_name, "lo")) return printf("open interface %s\n", i->if_name), 0;
  return blocked_text("lo is the only interface");
}
static int host_abstract_socket(const char* name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t n = strlen(name);
  memcpy(address.sun_path + 1, name, n);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return verdict(connect(fd, (struct sockaddr*)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)), "connect to an abstract socket of the host");
}
static int host_shm(const char* id) {
  void* p = shmat(atoi(id), NULL, SHM_RDONLY);
  if (p == (void*)-1) return blocked("attach a SysV segment of the host");
  return open_door("SysV segment of the host");
}

struct probe { const char* id; int (*run)(void); };
static const struct probe probes[] = {
    {"identity.capabilities", capabilities}, {"identity.no_new_privs", no_new_privs}, {"identity.seccomp", seccomp_mode},
    {"identity.setuid_binary", setuid_binary}, {"identity.setgroups", setgroups_door}, {"identity.uid_map", host_uid_map},
    {"namespace.unshare_user", unshare_user}, {"namespace.unshare_mount", unshare_mount}, {"namespace.clone_user", clone_user},
    {"namespace.clone3_user", clone3_user}, {"namespace.setns", setns_init},
#if defined(__x86_64__)
    {"entry.int80", int80_entry}, {"entry.x32", x32_entry},
#endif
    {"mount.tmpfs", mount_tmpfs}, {"mount.bind", mount_bind}, {"mount.remount_root", remount_root}, {"mount.umount_mask", umount_proc_mask},
    {"mount.fsopen", fsopen_door}, {"mount.open_tree", open_tree_door}, {"mount.move_mount", move_mount_door},
    {"mount.setattr", mount_setattr_door}, {"mount.pivot_root", pivot_root_door}, {"mount.chroot", chroot_door},
    {"file.write_root", write_root}, {"file.write_usr", write_usr}, {"file.exec_from_tmp", exec_from_tmp}, {"file.mknod", mknod_door},
    {"file.open_by_handle", name_to_handle}, {"file.host_secrets", host_secret}, {"file.host_home", host_home},
    {"file.mountinfo", mountinfo_paths}, {"file.leaked_fds", leaked_fds},
    {"kernel.bpf", bpf_door}, {"kernel.perf", perf_door}, {"kernel.userfaultfd", userfaultfd_door}, {"kernel.io_uring", io_uring_door},
    {"kernel.init_module", init_module_door}, {"kernel.finit_module", finit_module_door}, {"kernel.kexec", kexec_door},
    {"kernel.keyctl", keyctl_door}, {"kernel.add_key", add_key_door}, {"kernel.log", kernel_log}, {"kernel.dev_kmsg", dev_kmsg},
    {"kernel.dev_mem", dev_mem}, {"kernel.host_devices", dev_disk}, {"kernel.kallsyms", kallsyms}, {"kernel.kcore", kcore},
    {"kernel.proc_keys", proc_keys}, {"kernel.sysrq", sysrq}, {"kernel.core_pattern", core_pattern}, {"kernel.hostname_sysctl", proc_sys_hostname},
    {"kernel.net_sysctl", proc_sys_net}, {"kernel.sysfs", sys_write}, {"kernel.cgroupfs", cgroup_write}, {"kernel.sethostname", set_hostname},
    {"kernel.clock", set_clock}, {"kernel.reboot", reboot_door}, {"kernel.swapon", swapon_door}, {"kernel.quotactl", quotactl_door},
    {"kernel.iopl", iopl_door}, {"kernel.nice", nice_door}, {"kernel.realtime", realtime_door}, {"kernel.rlimit", rlimit_door},
    {"kernel.tiocsti", tiocsti}, {"kernel.tioclinux", tioclinux},
    {"agent.ptrace", agent_ptrace}, {"agent.process_vm_readv", agent_readv}, {"agent.pidfd_getfd", agent_pidfd_getfd}, {"agent.mem", agent_mem},
    {"agent.exe", agent_exe}, {"agent.fds", agent_fds}, {"agent.environ", agent_environ}, {"agent.root", agent_root}, {"agent.kill", agent_kill},
    {"agent.prlimit_set", agent_set_rlimit}, {"agent.prlimit_get", agent_prlimit}, {"agent.is_process_1", only_own_processes},
    {"net.raw", raw_socket}, {"net.packet", packet_socket}, {"net.vsock", vsock_socket}, {"net.alg", alg_socket}, {"net.netlink_admin", netlink_admin},
    {"net.interfaces", outside_network},
};

int main(int argc, char** argv) {
  if (argc == 2 && !strcmp(argv[1], "list")) {
    for (size_t i = 0; i < sizeof probes / sizeof *probes; ++i) puts(probes[i].id);
    return 0;
  }
  if (argc == 3 && !strcmp(argv[1], "ipc.abstract_socket")) return host_abstract_socket(argv[2]);
  if (argc == 3 && !strcmp(argv[1], "ipc.sysv_shm")) return host_shm(argv[2]);
  for (size_t i = 0; argc == 2 && i < sizeof probes / sizeof *probes; ++i)
    if (!strcmp(argv[1], probes[i].id)) return probes[i].run();
  fprintf(stderr, "usage: probe list | ID [argument]\n");
  return 64;
}
