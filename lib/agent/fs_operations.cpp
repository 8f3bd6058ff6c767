#include "agent/fs_methods.hpp"

namespace sandbox::agent {

OperationFactory file_operation(protocol::Method method) noexcept {
  using protocol::Method;
  switch (method) {
    case Method::fs_read: return make_fs_read;
    case Method::fs_write: return make_fs_write;
    case Method::fs_list: return make_fs_list;
    case Method::fs_stat: return make_fs_stat;
    case Method::fs_remove: return make_fs_remove;
    case Method::fs_rename: return make_fs_rename;
    case Method::fs_mkdir: return make_fs_mkdir;
    case Method::fs_copy: return make_fs_copy;
    case Method::fs_tar_in: return make_fs_tar_in;
    case Method::fs_tar_out: return make_fs_tar_out;
    case Method::fs_find: return make_fs_find;
    case Method::fs_watch: return make_fs_watch;
    case Method::fs_symlink: return make_fs_symlink;
    case Method::fs_chmod: return make_fs_chmod;
    default: return nullptr;
  }
}

}  // namespace sandbox::agent
