// The operations that are a few system calls: stat, mkdir, rename, symlink, chmod.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/fs_methods.hpp"
#include "core/text.hpp"

namespace sandbox::agent {

namespace {

class FsStat final : public FileOperation {
 public:
  FsStat(Context context, protocol::FsPathRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path("fs.stat", request_.path));
    struct stat info;
    const char* path = request_.path.c_str();
    if (::fstatat(AT_FDCWD, path, &info, request_.follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
      return file_error(errno, "fs.stat", request_.path);
    finish(make_entry(request_.path, info, AT_FDCWD, path));
    return {};
  }

 private:
  protocol::FsPathRequest request_;
};

class FsMkdir final : public FileOperation {
 public:
  FsMkdir(Context context, protocol::FsMkdirRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    const auto& path = request_.path;
    SANDBOX_CHECK(check_path("fs.mkdir", path));
    struct stat info;
    const bool existed = ::lstat(path.c_str(), &info) == 0;
    if (existed && !request_.parents) return file_error(EEXIST, "fs.mkdir", path);
    const mode_t mode = request_.mode ? request_.mode & 07777 : 0755;
    if (request_.parents) {
      SANDBOX_CHECK(make_directories("fs.mkdir", path, mode));
    } else if (::mkdir(path.c_str(), mode) != 0) {
      return file_error(errno, "fs.mkdir", path);
    }
    // The caller's mode, not what the umask leaves of it.
    if (!existed && request_.mode && ::chmod(path.c_str(), mode) != 0) return file_error(errno, "fs.mkdir", path);
    finish(protocol::Empty{});
    return {};
  }

 private:
  protocol::FsMkdirRequest request_;
};

class FsRename final : public FileOperation {
 public:
  FsRename(Context context, protocol::FsPairRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path("fs.rename", request_.from));
    SANDBOX_CHECK(check_path("fs.rename", request_.to));
    const char *from = request_.from.c_str(), *to = request_.to.c_str();
    long renamed = ::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, request_.replace ? 0u : kRenameNoReplace);
    if (renamed != 0 && errno == EINVAL && !request_.replace) {
      // Either a directory into itself (EINVAL again) or a file system without RENAME_NOREPLACE: then look and rename.
      struct stat info;
      if (::lstat(to, &info) == 0) return file_error(EEXIST, "fs.rename", request_.to);
      renamed = ::rename(from, to);
    }
    if (renamed != 0) {
      const int number = errno;
      return file_error(number, "fs.rename", number == EEXIST || number == ENOTEMPTY ? request_.to : request_.from);
    }
    finish(protocol::Empty{});
    return {};
  }

 private:
  protocol::FsPairRequest request_;
};

class FsSymlink final : public FileOperation {
 public:
  FsSymlink(Context context, protocol::FsPairRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path("fs.symlink", request_.to));
    const auto& target = request_.from;
    if (target.empty() || target.size() > protocol::kMaxPath || target.find('\0') != std::string::npos)
      return Error(ErrorCode::invalid_argument, "symlink target is empty, longer than 4095 bytes or contains a NUL byte")
          .with_operation("fs.symlink");
    if (::symlink(target.c_str(), request_.to.c_str()) != 0) return file_error(errno, "fs.symlink", request_.to);
    finish(protocol::Empty{});
    return {};
  }

 private:
  protocol::FsPairRequest request_;
};

class FsChmod final : public FileOperation {
 public:
  FsChmod(Context context, protocol::FsChmodRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path("fs.chmod", request_.path));
    if (request_.mode & ~07777u)
      return Error(ErrorCode::invalid_argument, "mode has bits beyond 07777").with_operation("fs.chmod");
    if (::chmod(request_.path.c_str(), request_.mode) != 0) return file_error(errno, "fs.chmod", request_.path);
    finish(protocol::Empty{});
    return {};
  }

 private:
  protocol::FsChmodRequest request_;
};

}  // namespace

Made make_fs_stat(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsStat, protocol::FsPathRequest>(context, params, key);
}
Made make_fs_mkdir(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsMkdir, protocol::FsMkdirRequest>(context, params, key);
}
Made make_fs_rename(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsRename, protocol::FsPairRequest>(context, params, key);
}
Made make_fs_symlink(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsSymlink, protocol::FsPairRequest>(context, params, key);
}
Made make_fs_chmod(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsChmod, protocol::FsChmodRequest>(context, params, key);
}

}  // namespace sandbox::agent
