#include "base.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "os/beneath.hpp"
#include "os/syscalls.hpp"

extern "C" int unshare(int) noexcept;
extern "C" int setns(int, int) noexcept;

namespace sandbox::launcher {
namespace {

using core::UniqueFd;

constexpr const char* kStep = "native.base";

Result<void> write_text(int directory, const char* path, std::string_view text, const char* operation) {
  UniqueFd file(::openat(directory, path, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return Error::from_errno(errno, operation, path);
  return {};
}

/// Enters a user namespace in which we are root, for hosts where we are not.
Result<void> enter_user_namespace() {
  const unsigned uid = ::geteuid(), gid = ::getegid();
  // A network namespace too: coming back to the host's from a sandbox's would need a capability over the host's.
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) {
    const int number = errno;
    const char* advice = number == ENOSPC ? "user.max_user_namespaces is too low (sysctl -w user.max_user_namespaces=65536)"
                                          : "unprivileged user namespaces are switched off on this host: enable them with "
                                            "sysctl kernel.unprivileged_userns_clone=1 (Debian), "
                                            "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu) or an AppArmor profile "
                                            "that permits userns, or run as root";
    return Error(ErrorCode::unsupported, advice).with_operation("native.user_namespace").with_errno(number);
  }
  SANDBOX_CHECK(write_text(AT_FDCWD, "/proc/self/setgroups", "deny", "native.user_namespace"));
  SANDBOX_CHECK(write_text(AT_FDCWD, "/proc/self/uid_map", "0 " + std::to_string(uid) + " 1", "native.user_namespace"));
  SANDBOX_CHECK(write_text(AT_FDCWD, "/proc/self/gid_map", "0 " + std::to_string(gid) + " 1", "native.user_namespace"));
  return {};
}

/// Whether our root is the machine's: in a container's user namespace it may neither make device nodes nor use other ids.
/// Counts as root when /proc does not tell; what then fails names itself.
bool is_machine_root() {
  char map[64] = {};
  UniqueFd file(::open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC));
  if (!file || ::read(file.get(), map, sizeof map - 1) <= 0) return true;
  unsigned inside = 1, outside = 1, count = 0;
  return std::sscanf(map, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 && count == 4294967295u;
}

Result<UniqueFd> new_tmpfs(unsigned attributes) {
  UniqueFd fs(os::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!fs) return Error::from_errno(-fs.release(), kStep, "tmpfs");
  os::fsconfig(fs.get(), FSCONFIG_SET_STRING, "mode", "0755", 0);
  if (int r = os::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); r < 0) return Error::from_errno(-r, kStep, "tmpfs");
  const int mount = os::fsmount(fs.get(), FSMOUNT_CLOEXEC, attributes);
  if (mount < 0) return Error::from_errno(-mount, kStep, "tmpfs");
  return UniqueFd(mount);
}

Result<void> attach(int tree, int directory, const std::string& path) {
  if (int r = os::move_mount(tree, "", directory, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH); r < 0)
    return Error::from_errno(-r, "native.mount", path);
  return {};
}

Result<void> set_attributes(int tree, std::uint64_t set) {
  mount_attr attributes{};
  attributes.attr_set = set;
  if (int r = os::mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes); r < 0)
    return Error::from_errno(-r, "native.mount", "mount_setattr");
  return {};
}

/// What the kernel tells everybody about the machine and other users, and a sandbox has no use for. Only what exists and
/// is readable by others is masked, since a sandbox's root is nobody outside.
constexpr const char* kMaskCandidates[] = {"acpi",        "asound",      "bus",           "fs",         "interrupts", "irq",
                                           "kallsyms",    "keys",        "key-users",     "latency_stats", "sched_debug",
                                           "scsi",        "timer_list",  "timer_stats",   "kcore",      "kmsg"};

}  // namespace

MountedTree::~MountedTree() {
  ::umount2(path_.c_str(), MNT_DETACH);
  ::rmdir(path_.c_str());
}

Result<Base> Base::enter() {
  Base base;
  if (!is_machine_root() || ::unshare(CLONE_NEWNS) != 0) {
    base.rootless_ = true;
    SANDBOX_CHECK(enter_user_namespace());
  }
  // Nothing mounted from here on shows outside, nor the other way round.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return Error::from_errno(errno, kStep, "/");
  base.host_namespace_ = UniqueFd(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!base.host_namespace_) return Error::from_errno(errno, kStep, "/proc/self/ns/mnt");
  if (::unshare(CLONE_NEWNS) != 0) return Error::from_errno(errno, kStep, "unshare");

  // An unobstructed proc: a fresh one where we may, otherwise the host's as it is.
  UniqueFd proc;
  UniqueFd fs(os::fsopen("proc", FSOPEN_CLOEXEC));
  if (fs.get() >= 0 && os::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) >= 0)
    proc = UniqueFd(os::fsmount(fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  if (!proc) proc = UniqueFd(os::open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!proc) return Error::from_errno(-proc.release(), kStep, "/proc");

  SANDBOX_TRY(auto root, new_tmpfs(MOUNT_ATTR_NOSUID));
  SANDBOX_CHECK(attach(root.get(), AT_FDCWD, "/proc"));  // any directory will do; it moves to / at once
  if (::fchdir(root.get()) != 0) return Error::from_errno(errno, kStep, "fchdir");
  for (const char* directory : {"host", "proc", "trees", "new", "work", "scratch", "lower", "attached", "empty"})
    if (::mkdir(directory, 0755) != 0) return Error::from_errno(errno, kStep, directory);
  for (int i = 0; i < kMaxLowers; ++i) {
    const std::string name = "lower/" + std::to_string(i);
    if (::mkdir(name.c_str(), 0755) != 0) return Error::from_errno(errno, kStep, name);
  }
  for (char name = 'a'; name < 'a' + 16; ++name)
    if (::mkdir((std::string("attached/") + name).c_str(), 0755) != 0) return Error::from_errno(errno, kStep, "attached");
  UniqueFd nothing(::open("nothing", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!nothing) return Error::from_errno(errno, kStep, "nothing");
  if (const long r = os::raw::call(SYS_pivot_root, ".", "host"); r < 0) return Error::from_errno(static_cast<int>(-r), kStep, "pivot_root");
  if (::chdir("/") != 0) return Error::from_errno(errno, kStep, "/");
  SANDBOX_CHECK(attach(proc.get(), AT_FDCWD, "/proc"));
  if (::umount2("/host", MNT_DETACH) != 0) return Error::from_errno(errno, kStep, "host");
  ::rmdir("/host");

  // Masks are read-only in every sandbox: what is bound from here inherits it.
  for (const char* mask : {"/nothing", "/empty"}) {
    UniqueFd clone(os::open_tree(AT_FDCWD, mask, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (clone.get() < 0) return Error::from_errno(-clone.release(), kStep, mask);
    SANDBOX_CHECK(set_attributes(clone.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    SANDBOX_CHECK(attach(clone.get(), AT_FDCWD, mask));
  }
  base.lean_namespace_ = UniqueFd(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!base.lean_namespace_) return Error::from_errno(errno, kStep, "/proc/self/ns/mnt");
  if (::unshare(CLONE_NEWNS) != 0) return Error::from_errno(errno, kStep, "unshare");
  base.own_namespace_ = UniqueFd(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  base.root_ = UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  base.proc_ = UniqueFd(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!base.own_namespace_ || !base.root_ || !base.proc_) return Error::from_errno(errno, kStep, "descriptors");
  for (const char* name : kMaskCandidates) {
    struct stat info {};
    if (::fstatat(base.proc_.get(), name, &info, AT_SYMLINK_NOFOLLOW) != 0 || S_ISLNK(info.st_mode)) continue;
    if (!(info.st_mode & S_IROTH)) continue;
    base.masks_.push_back(std::string(name) + (S_ISDIR(info.st_mode) ? "/" : ""));
  }
  return base;
}

Base::HostView::HostView(const Base& base, const UniqueFd& where)
    : own_(base.own_namespace_.get()), entered_(::setns(where.get(), CLONE_NEWNS) == 0) {}

Base::HostView::~HostView() {
  if (entered_ && (::setns(own_, CLONE_NEWNS) != 0 || ::chdir("/") != 0)) ::_exit(70);
}

Result<UniqueFd> Base::clone_host(const std::string& path, std::uint64_t attributes) {
  int tree = -1;
  {
    HostView view(*this);
    if (!view.entered()) return Error::from_errno(errno, kStep, "setns");
    tree = os::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  }
  if (tree < 0) return Error::from_errno(-tree, "native.image", path);
  UniqueFd owned(tree);
  SANDBOX_CHECK(set_attributes(owned.get(), attributes));
  return owned;
}

namespace {

Result<void> copy_file(int from, int to, const std::string& name) {
  char buffer[16384];
  for (;;) {
    const ssize_t count = ::read(from, buffer, sizeof buffer);
    if (count < 0) return Error::from_errno(errno, "native.image", name);
    if (count == 0) return {};
    for (ssize_t written = 0; written < count;) {
      const ssize_t step = ::write(to, buffer + written, static_cast<std::size_t>(count - written));
      if (step < 0) return Error::from_errno(errno, "native.image", name);
      written += step;
    }
  }
}

/// Regular files, directories and symlinks; whatever others cannot read stays out, as do devices and sockets.
Result<void> copy_entry(int from, const char* name, int to, const char* target, int depth) {
  struct stat info {};
  if (::fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? Result<void>() : Error::from_errno(errno, "native.image", name);
  if (S_ISLNK(info.st_mode)) {
    char link[4096];
    const ssize_t size = ::readlinkat(from, name, link, sizeof link - 1);
    if (size < 0) return Error::from_errno(errno, "native.image", name);
    link[size] = 0;
    if (::symlinkat(link, to, target) != 0 && errno != EEXIST) return Error::from_errno(errno, "native.image", name);
    return {};
  }
  if (!(info.st_mode & S_IROTH) || depth > 16) return {};
  if (S_ISDIR(info.st_mode)) {
    UniqueFd source(::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!source) return Error::from_errno(errno, "native.image", name);
    if (::mkdirat(to, target, 0755) != 0 && errno != EEXIST) return Error::from_errno(errno, "native.image", name);
    UniqueFd directory(::openat(to, target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory) return Error::from_errno(errno, "native.image", name);
    SANDBOX_TRY(auto names, os::beneath::list(source.get(), "."));
    for (const std::string& inner : names)
      SANDBOX_CHECK(copy_entry(source.get(), inner.c_str(), directory.get(), inner.c_str(), depth + 1));
    return {};
  }
  if (!S_ISREG(info.st_mode)) return {};
  UniqueFd source(::openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!source) return Error::from_errno(errno, "native.image", name);
  UniqueFd file(::openat(to, target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, info.st_mode & 0755));
  if (!file) return Error::from_errno(errno, "native.image", name);
  return copy_file(source.get(), file.get(), name);
}

}  // namespace

Result<void> Base::copy_host(const std::string& source, int directory, const std::string& path) {
  // A symlink at the top is followed (resolv.conf usually is one); inside a copied directory they stay symlinks.
  UniqueFd parent;
  std::string name;
  bool is_file = false;
  {
    HostView view(*this);
    if (!view.entered()) return Error::from_errno(errno, kStep, "setns");
    UniqueFd found(::open(source.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!found) return errno == ENOENT ? Result<void>() : Error::from_errno(errno, "native.image", source);
    struct stat info {};
    if (::fstat(found.get(), &info) != 0) return Error::from_errno(errno, "native.image", source);
    if (!(info.st_mode & S_IROTH)) return {};
    is_file = S_ISREG(info.st_mode);
    if (!is_file && !S_ISDIR(info.st_mode)) return {};
    parent = std::move(found);
  }
  if (is_file) {
    struct stat info {};
    ::fstat(parent.get(), &info);
    SANDBOX_TRY(auto file, os::beneath::open(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, os::beneath::Symlinks::refuse, info.st_mode & 0755));
    return copy_file(parent.get(), file.get(), path);
  }
  SANDBOX_TRY(auto target, os::beneath::make_directories(directory, path, 0755));
  SANDBOX_TRY(auto names, os::beneath::list(parent.get(), "."));
  for (const std::string& inner : names)
    SANDBOX_CHECK(copy_entry(parent.get(), inner.c_str(), target.get(), inner.c_str(), 1));
  return {};
}

Result<void> Base::make_devices(int directory) {
  struct Device {
    const char* name;
    unsigned major, minor;
  };
  constexpr Device kDevices[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
  for (const Device& device : kDevices) {
    if (!rootless_) {
      if (::mknodat(directory, device.name, S_IFCHR | 0666, makedev(device.major, device.minor)) != 0)
        return Error::from_errno(errno, "native.devices", device.name);
      continue;
    }
    // Without privilege nodes cannot be made, but the host's can be shown.
    SANDBOX_TRY(auto tree, clone_host(std::string("/dev/") + device.name, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
    SANDBOX_CHECK(os::beneath::write_new_file(directory, device.name, "", 0666));
    SANDBOX_CHECK(attach(tree.get(), directory, device.name));
  }
  const std::pair<const char*, const char*> links[] = {{"fd", "/proc/self/fd"},          {"stdin", "/proc/self/fd/0"},
                                                       {"stdout", "/proc/self/fd/1"},    {"stderr", "/proc/self/fd/2"},
                                                       {"ptmx", "pts/ptmx"}};
  for (const auto& [name, target] : links)
    if (::symlinkat(target, directory, name) != 0) return Error::from_errno(errno, "native.devices", name);
  for (const char* name : {"pts", "shm"})
    if (::mkdirat(directory, name, 0755) != 0) return Error::from_errno(errno, "native.devices", name);
  return {};
}

Result<void> Base::compose(int directory, const std::vector<launch::TreeEntry>& entries, MountedTree& tree, const std::string& at) {
  for (const launch::TreeEntry& entry : entries) {
    switch (entry.kind) {
      case launch::EntryKind::directory: {
        SANDBOX_TRY(auto made, os::beneath::make_directories(directory, entry.path, 0755));
        if (entry.mode && ::fchmod(made.get(), entry.mode) != 0) return Error::from_errno(errno, "native.image", entry.path);
        break;
      }
      case launch::EntryKind::symlink: {
        SANDBOX_TRY(auto parent, os::beneath::open_parent(directory, entry.path));
        if (::symlinkat(entry.source.c_str(), parent.directory.get(), parent.name.c_str()) != 0)
          return Error::from_errno(errno, "native.image", entry.path);
        break;
      }
      case launch::EntryKind::file:
        SANDBOX_CHECK(os::beneath::write_new_file(directory, entry.path, entry.source, entry.mode ? entry.mode : 0644));
        break;
      case launch::EntryKind::copy: SANDBOX_CHECK(copy_host(entry.source, directory, entry.path)); break;
      case launch::EntryKind::bind: {
        SANDBOX_TRY(auto clone, clone_host(entry.source, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
        SANDBOX_TRY(auto made, os::beneath::make_directories(directory, entry.path, 0755));
        if (tree.overlay) {
          const std::string place = at + "/bind" + std::to_string(tree.attached.size());
          if (::mkdir(place.c_str(), 0755) != 0) return Error::from_errno(errno, "native.image", place);
          SANDBOX_CHECK(attach(clone.get(), AT_FDCWD, place));
          tree.attached.emplace_back(entry.path, place);
        } else {
          SANDBOX_CHECK(attach(clone.get(), directory, entry.path));
        }
        tree.mounts.push_back("/" + entry.path);
        break;
      }
      default: return Error(ErrorCode::invalid_argument, "unknown entry").with_operation("native.image");
    }
  }
  return {};
}

Result<std::unique_ptr<MountedTree>> Base::mount_tree(const launch::Tree& plan, bool overlay) {
  const std::string at = "/trees/" + std::to_string(++next_tree_);
  if (::mkdir(at.c_str(), 0755) != 0) return Error::from_errno(errno, "native.image", at);
  auto tree = std::make_unique<MountedTree>(at, protocol::encode(plan));
  tree->overlay = overlay || plan.layers.size() + (plan.entries.empty() ? 0 : 1) > 1;
  // A mount of its own, so that one detach takes everything below away.
  SANDBOX_TRY(auto own, new_tmpfs(MOUNT_ATTR_NOSUID));
  SANDBOX_CHECK(attach(own.get(), AT_FDCWD, at));

  UniqueFd root;
  std::string path;
  if (!plan.entries.empty()) {
    path = at + "/composed";
    if (::mkdir(path.c_str(), 0755) != 0) return Error::from_errno(errno, "native.image", path);
    SANDBOX_TRY(auto skeleton, new_tmpfs(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
    SANDBOX_CHECK(attach(skeleton.get(), AT_FDCWD, path));
    SANDBOX_CHECK(compose(skeleton.get(), plan.entries, *tree, at));
    for (const char* name : {"dev", "proc", "sys", "root", "tmp"}) {
      SANDBOX_TRY(auto made, os::beneath::make_directories(skeleton.get(), name, 0755));
      (void)made;
    }
    root = std::move(skeleton);
    tree->lowers.push_back(path);
  }
  for (const std::string& layer : plan.layers) {
    path = at + "/layer" + std::to_string(tree->lowers.size());
    if (::mkdir(path.c_str(), 0755) != 0) return Error::from_errno(errno, "native.image", path);
    SANDBOX_TRY(auto clone, clone_host(layer, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
    SANDBOX_CHECK(attach(clone.get(), AT_FDCWD, path));
    root = UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    tree->lowers.insert(tree->lowers.begin(), path);
  }

  // Devices: on a file system of their own, shared by all sandboxes of this tree.
  SANDBOX_TRY(auto devices, new_tmpfs(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  std::string device_place;
  if (tree->overlay) {
    device_place = at + "/dev";
    if (::mkdir(device_place.c_str(), 0755) != 0) return Error::from_errno(errno, "native.image", device_place);
    SANDBOX_CHECK(attach(devices.get(), AT_FDCWD, device_place));
    tree->attached.emplace_back("dev", device_place);
  } else {
    auto mounted = attach(devices.get(), root.get(), "dev");
    if (!mounted) {
      if (const int why = mounted.error().sys_errno(); why != ENOENT && why != ENOTDIR) return std::move(mounted).error();
      return Error(ErrorCode::failed_precondition, "the image has no directory /dev to mount on")
          .with_operation("native.image").with_cause(std::move(mounted).error());
    }
    for (const char* name : {"proc", "root", "tmp"}) {
      struct stat info {};
      const bool found = ::fstatat(root.get(), name, &info, AT_SYMLINK_NOFOLLOW) == 0;
      if (!found && errno != ENOENT) return Error::from_errno(errno, "native.image", std::string("/") + name);
      if (!found || !S_ISDIR(info.st_mode))
        return Error(ErrorCode::failed_precondition, std::string("the image has no directory /") + name + " to mount on").with_operation("native.image");
    }
  }
  SANDBOX_CHECK(make_devices(devices.get()));
  SANDBOX_CHECK(set_attributes(devices.get(), MOUNT_ATTR_RDONLY));
  if (!plan.entries.empty()) {
    mount_attr read_only{};
    read_only.attr_set = MOUNT_ATTR_RDONLY;
    const std::string composed = at + "/composed";
    if (int r = os::mount_setattr(AT_FDCWD, composed.c_str(), 0, read_only); r < 0) return Error::from_errno(-r, "native.image", composed);
  }
  tree->mounts.push_back("/dev");
  std::sort(tree->mounts.begin(), tree->mounts.end());
  return tree;
}

Result<std::unique_ptr<MountedTree>> Base::mount_scratch(const std::string& path) {
  const std::string at = "/trees/" + std::to_string(++next_tree_);
  if (::mkdir(at.c_str(), 0755) != 0) return Error::from_errno(errno, "native.image", at);
  auto tree = std::make_unique<MountedTree>(at, path);
  SANDBOX_TRY(auto clone, clone_host(path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
  SANDBOX_CHECK(attach(clone.get(), AT_FDCWD, at));
  tree->lowers.push_back(at);
  return tree;
}

}  // namespace sandbox::launcher
