#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
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

/// Layers that nothing has used for that long, at most `most`. `take` is called with the name of each while its lock keeps
/// everybody from beginning to use it, and says whether to count it. The store's lock is held: no template comes or goes meanwhile.
Result<std::vector<PrunedLayer>> ImageStore::Impl::unused(std::chrono::seconds unused_for, std::size_t most,
                                                          const std::function<bool(const std::string&)>& take) const {
  std::vector<PrunedLayer> found;
  SANDBOX_TRY(const std::set<std::string> needed, kept());
  SANDBOX_TRY(const std::vector<std::string> names, os::beneath::list(layers.get(), "."));
  const auto now = options.now();
  for (const std::string& name : names) {
    if (found.size() >= most) break;
    if (!is_digest(name) || needed.contains(name) || needed.contains(name.substr(0, 16))) continue;
    const UniqueFd layer(::openat(layers.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!layer || ::flock(layer.get(), LOCK_EX | LOCK_NB) != 0) continue;  // gone, or in use
    struct stat status {};
    const bool known = ::fstat(layer.get(), &status) == 0;
    const std::chrono::system_clock::time_point used(std::chrono::duration_cast<std::chrono::system_clock::duration>(
        std::chrono::seconds(status.st_ctim.tv_sec) + std::chrono::nanoseconds(status.st_ctim.tv_nsec)));
    // Compared in seconds, of which any number fits.
    const bool old = known && std::chrono::floor<std::chrono::seconds>(now - used) >= unused_for;
    const bool taken = old && take(name);
    ::flock(layer.get(), LOCK_UN);  // as for StoreLock
    if (taken) found.push_back({name, ByteCount(0), used});
  }
  return found;
}

/// What could be collected. Nothing is written.
Result<std::vector<PrunedLayer>> ImageStore::Impl::look_for_unused(std::chrono::seconds unused_for, std::size_t most) const {
  SANDBOX_TRY(const StoreLock lock, StoreLock::take(root.get()));
  return unused(unused_for, most, [](const std::string&) { return true; });
}

/// Moves it into the directory `place`. `failure` is the first layer's that cannot be moved; it is in nobody else's way.
Result<std::vector<PrunedLayer>> ImageStore::Impl::take_unused(std::chrono::seconds unused_for, std::size_t most, int place,
                                                               std::optional<Error>& failure) const {
  const auto move_away = [&](const std::string& name) {
    // Whoever waits for the lock finds the name gone, and unpacks again.
    if (::renameat(layers.get(), name.c_str(), place, name.c_str()) == 0) return true;
    if (!failure) failure = Error::from_errno(errno, "image.collect", name);
    return false;
  };
  SANDBOX_TRY(const StoreLock lock, StoreLock::take(root.get()));
  SANDBOX_TRY(std::vector<PrunedLayer> taken, unused(unused_for, most, move_away));
  // Before anything in it goes: a layer that comes back with a lost rename must be whole.
  if (!taken.empty() && ::fsync(layers.get()) != 0) {
    if (failure) failure->ignore("this one is worse");
    return Error::from_errno(errno, "image.sync");
  }
  return taken;
}

Result<std::vector<PrunedLayer>> ImageStore::collect(const CollectOptions& options) {
  const auto measured = [&](std::vector<PrunedLayer> unused, int where) {
    for (PrunedLayer& layer : unused) {
      if (!options.measure) break;
      const UniqueFd tree(::openat(where, layer.digest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (tree) layer.size = ByteCount(usage_of(tree.get()));
    }
    return unused;
  };
  // First a look. Mostly there is nothing to do, and then nothing is written either.
  const std::size_t enough = options.dry_run ? options.most : std::min<std::size_t>(options.most, 1);
  SANDBOX_TRY(std::vector<PrunedLayer> found, impl_->look_for_unused(options.unused_for, enough));
  if (options.dry_run) return measured(std::move(found), impl_->layers.get());
  if (found.empty()) return found;
  // Then the taking. What is taken is removed with `place`.
  std::optional<Error> failure;
  SANDBOX_TRY(const Work place, Work::make(impl_->root.get(), impl_->work.get()));
  SANDBOX_TRY(std::vector<PrunedLayer> taken, impl_->take_unused(options.unused_for, options.most, place.fd(), failure));
  SANDBOX_SYNC_POINT("image.layers_taken");
  taken = measured(std::move(taken), place.fd());
  if (failure) return *std::move(failure);
  return taken;
}

bool ImageStore::has_layers() const noexcept {
  struct stat status {};
  // Two links and one for each directory in it, where the file system counts them (1: it does not).
  return ::fstat(impl_->layers.get(), &status) != 0 || status.st_nlink != 2;
}

Result<std::uint64_t> ImageStore::disk_usage() const { return usage_of(impl_->layers.get()) + usage_of(impl_->templates.get()); }

}  // namespace sandbox::image
