#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "core/sync_point.hpp"
#include "image/store_impl.hpp"

/// Layers that nothing uses, and what the store takes on disk.
namespace sandbox::image {
namespace {

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Blocks of everything below `fd`, by names that nobody changes while a pin or lock is held; what vanishes counts nothing.
std::uint64_t usage_of(int fd) {
  auto names = os::beneath::list(fd, ".");
  if (!names) {
    names.ignore("vanished");
    return 0;
  }
  std::uint64_t total = 0;
  for (const std::string& name : *names) {
    struct stat status {};
    if (::fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    total += static_cast<std::uint64_t>(status.st_blocks) * 512;
    if (!S_ISDIR(status.st_mode)) continue;
    const UniqueFd child(::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (child) total += usage_of(child.get());
  }
  return total;
}

}  // namespace

/// What templates need: the first 16 hex digits of their own layers, which their ids tell even when the record is damaged,
/// and the layers underneath.
Result<std::set<std::string>> ImageStore::Impl::kept() const {
  SANDBOX_TRY(const std::vector<std::string> names, os::beneath::list(templates.get(), "."));
  std::set<std::string> kept;
  for (const std::string& name : names) {
    const std::string id = name.substr(0, name.find('.'));
    if (!name.ends_with(".meta") || !is_template_id(id)) continue;
    kept.insert(id.substr(4));
    auto known = read_record(id);
    if (known && !known->base.empty()) kept.insert(std::move(known->base));
    if (!known) known.error().ignore("what it stood on is unpacked again when it is repaired");
  }
  return kept;
}

Result<std::vector<PrunedLayer>> ImageStore::collect(const CollectOptions& options) {
  std::vector<PrunedLayer> unused;
  std::optional<Error> failure;
  std::optional<Work> place;
  if (!options.dry_run) {
    // Mostly there is nothing to do, and then nothing is written either.
    CollectOptions look = options;
    look.dry_run = true;
    look.measure = false;
    look.most = std::min<std::size_t>(options.most, 1);
    SANDBOX_TRY(const std::vector<PrunedLayer> some, collect(look));
    if (some.empty()) return unused;
    SANDBOX_TRY(Work made, Work::make(impl_->root.get(), impl_->work.get()));
    place.emplace(std::move(made));
  }
  {
    SANDBOX_TRY(const StoreLock lock, StoreLock::take(impl_->root.get()));  // no template comes or goes meanwhile
    SANDBOX_TRY(const std::set<std::string> kept, impl_->kept());
    SANDBOX_TRY(const std::vector<std::string> names, os::beneath::list(impl_->layers.get(), "."));
    const auto now = impl_->options.now();
    for (const std::string& name : names) {
      if (unused.size() >= options.most) break;
      if (!is_digest(name) || kept.contains(name) || kept.contains(name.substr(0, 16))) continue;
      const UniqueFd layer(::openat(impl_->layers.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (!layer || ::flock(layer.get(), LOCK_EX | LOCK_NB) != 0) continue;  // gone, or in use
      struct stat status {};
      const bool known = ::fstat(layer.get(), &status) == 0;
      const std::chrono::system_clock::time_point used(std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::seconds(status.st_ctim.tv_sec) + std::chrono::nanoseconds(status.st_ctim.tv_nsec)));
      // Compared in seconds, of which any number fits.
      const bool old = known && std::chrono::floor<std::chrono::seconds>(now - used) >= options.unused_for;
      // Whoever waits for the lock finds the name gone, and unpacks again.
      const bool taken = old && (options.dry_run || ::renameat(impl_->layers.get(), name.c_str(), place->fd(), name.c_str()) == 0);
      const int why = errno;
      ::flock(layer.get(), LOCK_UN);  // as for StoreLock
      if (taken) unused.push_back({name, ByteCount(0), used});
      if (old && !taken && !failure) failure = Error::from_errno(why, "image.collect", name);  // in nobody else's way
    }
    // Before anything in it goes: a layer that comes back with a lost rename must be whole.
    if (!options.dry_run && !unused.empty() && ::fsync(impl_->layers.get()) != 0) {
      if (failure) failure->ignore("this one is worse");
      return Error::from_errno(errno, "image.sync");
    }
  }
  if (!options.dry_run) SANDBOX_SYNC_POINT("image.layers_taken");
  for (PrunedLayer& layer : unused) {
    if (!options.measure) break;
    const int from = options.dry_run ? impl_->layers.get() : place->fd();
    const UniqueFd tree(::openat(from, layer.digest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (tree) layer.size = ByteCount(usage_of(tree.get()));
  }
  if (failure) return *std::move(failure);
  return unused;
}

bool ImageStore::has_layers() const noexcept {
  struct stat status {};
  // Two links and one for each directory in it, where the file system counts them (1: it does not).
  return ::fstat(impl_->layers.get(), &status) != 0 || status.st_nlink != 2;
}

Result<std::uint64_t> ImageStore::disk_usage() const { return usage_of(impl_->layers.get()) + usage_of(impl_->templates.get()); }

}  // namespace sandbox::image
