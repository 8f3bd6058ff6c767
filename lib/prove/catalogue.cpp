#include "prove/catalogue.hpp"

namespace sandbox::prove {

using namespace sandbox::literals;

// Numbers that stand in the words below too.
SandboxSpec small_spec(const Stage& stage) {
  return stage.spec().limits(Limits().memory(96_MiB).pids(48).open_files(64).disk(16_MiB).inodes(512));
}
SandboxSpec slow_spec(const Stage& stage) { return stage.spec().limits(Limits().cpus(0.25)); }

void pass(CheckResult& result, std::string seen) {
  result.status = CheckStatus::passed;
  result.seen = std::move(seen);
}
void fail(CheckResult& result, std::string seen) {
  result.status = CheckStatus::failed;
  result.seen = std::move(seen);
}
void skip(CheckResult& result, std::string why) {
  result.status = CheckStatus::skipped;
  result.seen = std::move(why);
}

const std::vector<Check>& catalogue() {
  static const std::vector<Check> kChecks = {
      // ---- identity and kernel surface
      {"identity.capabilities", "look at the five capability sets; take CAP_SYS_ADMIN back", "all empty, refused", Room::plain, {"capabilities", "capset"}},
      {"identity.no_new_privs", "look at the no_new_privs bit", "set", Room::plain, {"no_new_privs"}},
      {"identity.seccomp", "look at the system call filter", "on", Room::plain, {"seccomp"}},
      {"identity.setuid", "programs with the setuid bit, mounts that honour it", "no effect anywhere", Room::plain, {"setuid_file", "setuid_mounts"}},
      {"identity.groups", "setgroups", "refused", Room::plain, {"setgroups"}},
      {"identity.host_ids", "which user the processes of two sandboxes are on the host", "not root; as root, not each other and nobody of this host", Room::plain, {}, check_host_ids},
      {"identity.user_namespaces", "a new user namespace by unshare, clone, clone3", "refused", Room::plain, {"unshare_user", "clone_user", "clone3_user"}},
      {"identity.namespaces", "new mount, pid, network, uts, ipc, cgroup, time namespaces; entering others", "refused", Room::plain, {"other_namespaces", "setns", "setns_pidfd"}},
      {"kernel.foreign_entry", "system calls through int 0x80 and x32", "the process is killed, or no such entry", Room::plain, {"int80", "int80_unshare", "x32"}},
      {"kernel.mount", "mount, remount, umount, pivot_root, chroot", "refused", Room::plain, {"mount_tmpfs", "mount_bind", "mount_proc", "mount_overlay", "remount_root", "umount", "pivot_root", "chroot"}},
      {"kernel.mount_new", "fsopen, open_tree, move_mount, mount_setattr, fspick, fsmount", "refused", Room::plain, {"fsopen", "open_tree", "move_mount", "mount_setattr", "fspick", "fsmount"}},
      {"kernel.bpf", "make a BPF map", "refused", Room::plain, {"bpf"}},
      {"kernel.perf", "perf_event_open", "refused", Room::plain, {"perf"}},
      {"kernel.userfaultfd", "userfaultfd and its device", "refused", Room::plain, {"userfaultfd"}},
      {"kernel.io_uring", "io_uring_setup", "refused", Room::plain, {"io_uring"}},
      {"kernel.modules", "load and unload modules, kexec", "refused before the kernel looks", Room::plain, {"init_module", "finit_module", "delete_module", "kexec"}},
      {"kernel.keys", "keyctl, add_key, request_key, /proc/keys", "refused", Room::plain, {"keyctl", "add_key", "request_key", "proc_keys"}},
      {"agent.memory", "ptrace, process_vm, kcmp, /proc/1/mem of the agent; ptrace of an own child", "refused", Room::plain, {"agent_ptrace", "own_ptrace", "agent_read_memory", "agent_write_memory", "agent_compare", "agent_mem", "agent_maps"}},
      {"agent.descriptors", "pidfd_getfd and /proc/1/fd of the agent", "refused", Room::plain, {"agent_take_descriptor", "agent_fd"}},
      {"agent.files", "the agent's program, root, working directory, environment", "refused", Room::plain, {"agent_exe", "agent_root", "agent_cwd", "agent_environ"}},
      {"agent.control", "stop, kill, limit, slow down or volunteer the agent", "refused or without effect", Room::plain, {"agent_stop", "agent_prlimit", "agent_nice", "agent_schedule", "agent_settings"}},
      {"agent.processes", "see processes of others", "only the sandbox's own", Room::plain, {"other_processes"}},
      {"kernel.log", "the kernel's log", "refused", Room::plain, {"kernel_log", "dev_kmsg"}},
      {"kernel.symbols", "kernel addresses and memory", "hidden", Room::plain, {"kallsyms", "modules", "core_memory"}},
      {"kernel.sysctl", "every file of /proc/sys, sysrq, core_pattern, sysfs, control groups for writing", "refused", Room::plain, {"sysctls", "sysrq", "core_pattern", "sysfs", "cgroupfs"}},
      {"kernel.clock", "set and adjust the clock", "refused", Room::plain, {"clock", "adjtimex"}},
      {"kernel.hostname", "set host and domain name", "refused", Room::plain, {"hostname", "domainname"}},
      {"kernel.devices", "open devices, make device nodes", "only harmless ones; refused", Room::plain, {"devices", "mknod"}},
      {"kernel.machine", "reboot, swap, accounting, quota, I/O ports, personality", "refused", Room::plain, {"reboot", "swapon", "acct", "quotactl", "iopl", "personality"}},
      // ---- file system
      {"files.read_only", "write to /, /usr, /etc, programs and libraries", "refused", Room::plain, {"write_root", "write_usr", "write_etc", "overwrite_program"}},
      {"files.noexec", "run a file from /tmp", "refused", Room::plain, {"run_from_tmp"}},
      {"files.descriptors", "descriptors that a new process inherits", "none beyond 2", Room::plain, {"descriptors"}},
      {"files.cwd", "\"..\" from the working directory, over and over", "ends at the sandbox's root", Room::plain, {"cwd"}},
      {"files.workdir", "start programs in /proc/self/fd/N and magic links", "refused, or inside", Room::plain, {}, check_workdirs},
      {"files.handles", "open a file by its handle", "refused", Room::plain, {"file_handle"}},
      {"files.host_secrets", "keys, passwords, logs and sockets of the host", "not there", Room::plain, {"host_secrets"}},
      {"files.host_paths", "directories of the host in mountinfo", "not named", Room::plain, {"mountinfo"}},
      {"files.masks", "what /proc and /sys tell about the machine", "masked", Room::plain, {"masked"}},
      {"files.xattrs", "forge overlay and capability attributes", "refused", Room::plain, {"xattr_trusted", "xattr_capability"}},
      {"files.fifos", "have the host read, write, copy and list FIFOs", "an error at once; nobody waits", Room::plain, {}, check_fifos},
      {"files.error_texts", "host paths in the texts of errors", "none", Room::plain, {}, check_error_texts},
      {"files.overlay_forging", "whiteouts and overlay markers in a saved template", "nothing of the image disappears", Room::plain, {}, check_overlay_forging, "pause"},
      {"files.tar_slip", "archives with names, links and devices that lead outside", "nothing lands outside; no device, no setuid", Room::plain, {}, check_tar_slip},
      {"files.bombs", "archives that unpack to very much, very deep, or lie about their size", "refused at the limit", Room::plain, {}, check_bombs},
      {"files.races", "swap directories and links while the host works on them", "nothing of the host is read or changed", Room::plain, {}, check_races},
      // ---- resources
      {"resources.processes", "a fork bomb and threads", "held at the limit", Room::small, {"processes=48", "threads=48"}, nullptr, "pids"},
      {"resources.memory", "memory: private, shared, memfd, System V, pipes, sockets, locked", "held at the limit", Room::small,
       {"memory=100663296", "memory_shared=100663296", "memory_memfd=100663296", "memory_sysv=100663296", "memory_pipes=100663296", "memory_sockets=100663296", "memory_locked=100663296"}, nullptr, "memory"},
      {"resources.disk", "fill files, deleted files and /dev/shm", "held at the limit", Room::small, {"disk=16777216", "disk_deleted=16777216", "memory_tmpfs=16777216"}, nullptr, "disk"},
      {"resources.inodes", "make files without end", "held at the limit", Room::small, {"inodes=512"}, nullptr, "inodes"},
      {"resources.descriptors", "descriptors, watches, message queues; raise the limit", "held at the limit", Room::small, {"many_descriptors=64", "watches=64", "message_queues=1024", "rlimit"}},
      {"resources.cpu", "two spinning processes", "held at the limit", Room::slow, {"cpu=25"}, nullptr, "cpus"},
      {"resources.priority", "a better nice value, real-time scheduling of CPU and disk", "refused", Room::plain, {"nice", "realtime", "realtime_io"}},
      {"resources.output", "256 MiB of output that nobody keeps", "dropped and counted; the host's memory stays", Room::plain, {}, check_output_flood},
      {"resources.stopped", "a program that stops itself, one that ignores every signal", "its time runs out all the same", Room::plain, {}, check_stopped},
      {"resources.orphans", "daemonised children and zombies", "reaped; gone with the sandbox", Room::plain, {}, check_orphans},
      {"resources.under_fire", "destroy a sandbox full of busy processes that ignore signals", "gone within seconds, all of them", Room::plain, {}, check_under_fire},
      // ---- network and IPC
      {"net.none", "any interface but loopback, any address, by Network::none", "nothing there", Room::none, {"interfaces", "tcp=198.51.100.10:8088", "tcp=192.0.2.2:8088", "tcp=169.254.169.254:8088", "tcp=127.0.0.1:8088", "udp=198.51.100.10:8088/{mark}-n1"}},
      {"net.metadata", "the metadata address, TCP and UDP", "out of reach", Room::lan, {"tcp=169.254.169.254:8088", "udp=169.254.169.254:8088/{mark}-m1"}},
      {"net.host", "the host: loopback, public and private address", "out of reach", Room::lan, {"tcp=127.0.0.1:8088", "tcp=192.0.2.2:8088", "tcp=192.168.50.1:8088", "udp=192.0.2.2:8088/{mark}-h1", "udp=192.168.50.1:8088/{mark}-h2"}},
      {"net.private", "private addresses behind the host", "out of reach", Room::lan, {"tcp=192.168.50.10:8088", "tcp=10.200.0.10:8088", "udp=192.168.50.10:8088/{mark}-p1", "udp=10.200.0.10:8088/{mark}-p2"}},
      {"net.mapped", "the same as IPv4-mapped IPv6 addresses", "out of reach", Room::lan, {"tcp=::ffff:169.254.169.254:8088", "tcp=::ffff:192.168.50.10:8088", "tcp=::ffff:192.0.2.2:8088"}},
      {"net.neighbours", "another sandbox of the same network", "out of reach", Room::lan, {"tcp={neighbour}:8088"}},
      {"net.public", "a public address (that the laboratory works)", "reached", Room::lan, {"tcp=198.51.100.10:8088"}},
      {"net.sockets", "raw, packet, vsock and AF_ALG sockets, other families; take loopback down by netlink", "refused", Room::plain, {"raw_socket", "raw6_socket", "packet_socket", "vsock_socket", "alg_socket", "other_families", "netlink_admin"}},
      {"ipc.abstract", "connect to an abstract socket of the host", "not there", Room::ipc, {"abstract_socket={abstract}"}},
      {"ipc.sysv", "attach a System V segment of the host", "not there", Room::ipc, {"sysv_segment={segment}"}},
      {"ipc.shared_directories", "files of the host in /dev/shm, /run and elsewhere", "not there", Room::ipc, {"host_file={shm}", "host_file={run}", "host_file={outside}/f"}},
      {"ipc.terminal", "type into the terminal (TIOCSTI, TIOCLINUX)", "refused", Room::plain, {}, check_terminal},
      // ---- pool and agent
      {"pool.hygiene", "files, variables, processes, keys, IPC and sockets of an earlier tenant", "nothing left", Room::plain, {}, check_hygiene},
      {"pool.users", "a sandbox that was warmed for another user", "never handed out", Room::plain, {}, check_users},
      {"host.garbage", "an agent that says nothing, garbage, too much, or the wrong thing", "an error in time; bounded memory", Room::plain, {}, check_garbage},
      {"host.forged_facts", "an agent that reports each lock as open in turn", "refused each time", Room::plain, {}, check_forged_facts},
  };
  return kChecks;
}

}  // namespace sandbox::prove
