#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <optional>

#include "agent/fs_methods.hpp"
#include "agent/glob.hpp"
#include "agent/walk.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsFind = "fs.find";

/// Walks below a root and reports what matches. Symlinks are reported, never followed. Directories that may not be read
/// are passed over, as find(1) does, and so is what lies so deep that no request could name it. The work is linear in the
/// entries, the memory bounded by the longest path.
class FsFind final : public FileOperation {
 public:
  FsFind(Context context, protocol::FsFindRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kFsFind, request_.root));
    SANDBOX_TRY(glob_, Glob::compile(request_.pattern));
    core::UniqueFd root(::open(request_.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) return file_error(errno, kFsFind, request_.root);
    walk_.emplace(std::move(root));
    trail_.emplace(glob_);
    return slice();
  }

  Result<void> slice() override {
    bool done = false;
    for (int i = 0; i < kEntriesPerSlice && !batch_.full() && !done; ++i) {
      const auto step = walk_->next();
      if (step == TreeWalk::Step::done) done = true;
      if (step != TreeWalk::Step::entry) continue;
      done = look();
    }
    // While nothing matches there is nothing to wait for; matches leave with every slice that found some.
    const bool sent = !batch_.empty();
    if (sent) message(batch_.take());
    if (done) finish(protocol::Empty{});
    else if (sent) again_when_sent();
    else again();
    return {};
  }

  void release() noexcept override { walk_.reset(); }

 private:
  /// Handles one entry; true when enough was found.
  bool look() {
    const auto& path = walk_->path();
    if (path.size() > protocol::kMaxPath) return false;
    trail_->look(walk_->depth(), walk_->name());
    auto type = walk_->type();
    struct stat info;
    bool known = false;
    const auto load = [&] {
      if (known) return true;
      known = ::fstatat(walk_->parent(), walk_->name(), &info, AT_SYMLINK_NOFOLLOW) == 0;
      if (known) type = file_type(info.st_mode);
      return known;
    };
    if (type == protocol::FileType::unknown && !load()) return false;

    if (trail_->matches() && (!request_.type || *request_.type == type) && load() &&
        (!request_.type || *request_.type == type)) {
      batch_.add(make_entry(path, info, walk_->parent(), walk_->name()));
      if (request_.max_results && ++found_ >= request_.max_results) return true;
    }
    if (type == protocol::FileType::directory && (!request_.max_depth || walk_->depth() < request_.max_depth) &&
        trail_->may_match_below())
      walk_->descend();  // unreadable, or gone: passed over
    return false;
  }

  protocol::FsFindRequest request_;
  Glob glob_;
  std::optional<Glob::Trail> trail_;
  std::optional<TreeWalk> walk_;
  EntryBatch batch_;
  std::uint64_t found_ = 0;
};

}  // namespace

Made make_fs_find(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsFind, protocol::FsFindRequest>(context, params, key);
}

}  // namespace sandbox::agent
