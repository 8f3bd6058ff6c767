#pragma once

#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <type_traits>

/// System calls as the kernel has them, guest-safe.
///
/// `raw::call` returns the result or -errno and touches neither errno nor any other memory of the C library: the
/// launcher's child shares its memory with the launcher until it execs, so errno would be a race. Everything else in
/// this header is a thin name over it.
namespace sandbox::os {

namespace raw {

#if defined(__x86_64__)
inline long call6(long number, long a, long b, long c, long d, long e, long f) noexcept {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
inline long call6(long number, long a, long b, long c, long d, long e, long f) noexcept {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}
#else
#error "system call convention of this architecture is not written yet"
#endif

template <class T>
long word(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<long>(value);
  else if constexpr (std::is_null_pointer_v<T>) return 0;
  else return static_cast<long>(value);
}

/// Result, or -errno.
template <class... Args>
long call(long number, Args... args) noexcept {
  static_assert(sizeof...(Args) <= 6);
  const long words[6] = {word(args)...};
  return call6(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

}  // namespace raw

// Numbers the musl headers of Debian 12 may lack; the same on every architecture since 5.1.
namespace nr {
inline constexpr long open_tree = 428, move_mount = 429, fsopen = 430, fsconfig = 431, fsmount = 432, fspick = 433;
inline constexpr long pidfd_send_signal = 424, pidfd_open = 434, clone3 = 435, close_range = 436, openat2 = 437;
inline constexpr long mount_setattr = 442, landlock_create_ruleset = 444, landlock_add_rule = 445;
inline constexpr long landlock_restrict_self = 446;
}  // namespace nr

inline int open_tree(int dir, const char* path, unsigned flags) noexcept {
  return static_cast<int>(raw::call(nr::open_tree, dir, path, flags));
}
inline int move_mount(int from, const char* from_path, int to, const char* to_path, unsigned flags) noexcept {
  return static_cast<int>(raw::call(nr::move_mount, from, from_path, to, to_path, flags));
}
inline int fsopen(const char* type, unsigned flags) noexcept { return static_cast<int>(raw::call(nr::fsopen, type, flags)); }
inline int fsconfig(int fs, unsigned command, const char* key, const void* value, int aux) noexcept {
  return static_cast<int>(raw::call(nr::fsconfig, fs, command, key, value, aux));
}
inline int fsmount(int fs, unsigned flags, unsigned attributes) noexcept {
  return static_cast<int>(raw::call(nr::fsmount, fs, flags, attributes));
}
inline int mount_setattr(int dir, const char* path, unsigned flags, const mount_attr& attributes) noexcept {
  return static_cast<int>(raw::call(nr::mount_setattr, dir, path, flags, &attributes, sizeof attributes));
}
inline int openat2(int dir, const char* path, const open_how& how) noexcept {
  return static_cast<int>(raw::call(nr::openat2, dir, path, &how, sizeof how));
}
inline int pidfd_open(pid_t pid, unsigned flags = 0) noexcept {
  return static_cast<int>(raw::call(nr::pidfd_open, pid, flags));
}
inline int pidfd_send_signal(int pidfd, int signal) noexcept {
  return static_cast<int>(raw::call(nr::pidfd_send_signal, pidfd, signal, nullptr, 0));
}
inline int close_range(unsigned first, unsigned last, unsigned flags) noexcept {
  return static_cast<int>(raw::call(nr::close_range, first, last, flags));
}

}  // namespace sandbox::os
