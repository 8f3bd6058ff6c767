#include "os/memfd.hpp"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace sandbox::os {
namespace {
constexpr unsigned kExec = 0x10;   // MFD_EXEC, Linux 6.3
constexpr int kSealExec = 0x20;    // F_SEAL_EXEC, Linux 6.3
}  // namespace

Result<core::UniqueFd> sealed_program(int file, const std::string& name) {
  constexpr const char* kOperation = "os.memfd";
  core::UniqueFd memory(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | kExec));
  if (!memory && errno == EINVAL) memory = core::UniqueFd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return Error::from_errno(errno, kOperation, name);
  struct stat info {};
  if (::fstat(file, &info) != 0) return Error::from_errno(errno, kOperation, name);
  off_t offset = 0;
  while (offset < info.st_size) {
    const ssize_t count = ::sendfile(memory.get(), file, &offset, static_cast<std::size_t>(info.st_size - offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::from_errno(errno, kOperation, name);
    if (count == 0) return Error(ErrorCode::corrupt, name + " became shorter while it was read").with_operation(kOperation);
  }
  if (::fchmod(memory.get(), 0111) != 0) return Error::from_errno(errno, kOperation, name);
  const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (::fcntl(memory.get(), F_ADD_SEALS, seals | kSealExec) != 0 && ::fcntl(memory.get(), F_ADD_SEALS, seals) != 0)
    return Error::from_errno(errno, kOperation, name);
  return memory;
}

Result<core::UniqueFd> open_helper(const std::string& directory, const std::string& name) {
  constexpr const char* kOperation = "native.helper";
  core::UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return Error::from_errno(errno, kOperation, directory);
  core::UniqueFd file(::openat(parent.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return Error::from_errno(errno, kOperation, directory + "/" + name);
  for (const int fd : {parent.get(), file.get()}) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return Error::from_errno(errno, kOperation, name);
    const bool sticky_directory = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX);
    if ((info.st_uid != 0 && info.st_uid != ::geteuid()) || ((info.st_mode & S_IWOTH) && !sticky_directory))
      return Error(ErrorCode::permission_denied, directory + "/" + name + " could have been changed by another user")
          .with_operation(kOperation);
  }
  return file;
}

}  // namespace sandbox::os
