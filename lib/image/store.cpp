#include "image/store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>

#include "image/digest.hpp"
#include "image/store_impl.hpp"
#include "image/unpack.hpp"

namespace sandbox::image {

ImageStore::ImageStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ImageStore::~ImageStore() = default;

// ---- opening --------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<ImageStore>> ImageStore::open(StoreOptions options) {
  const std::string& directory = options.directory;
  if (!directory.starts_with('/'))
    return Error(ErrorCode::invalid_argument, "state directory \"" + core::escape_control(directory) + "\" is not an absolute path");
  for (std::size_t slash = directory.find('/', 1);; slash = directory.find('/', slash + 1)) {
    const std::string part = directory.substr(0, slash);
    const mode_t mode = slash == std::string::npos ? 0700 : 0755;
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST && (errno != EROFS || slash == std::string::npos)) return about(part, errno);
    if (slash == std::string::npos) break;
  }
  auto impl = std::make_unique<Impl>();
  impl->root = UniqueFd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!impl->root) return about(directory, errno);
  struct stat status {};
  if (::fstat(impl->root.get(), &status) != 0) return about(directory, errno);
  if (status.st_uid != ::geteuid())
    return Error(ErrorCode::permission_denied, "state directory " + directory + " belongs to another user");
  // Layers keep the owners and modes of what is inside; nobody else may reach them.
  if ((status.st_mode & 077) != 0 && ::fchmod(impl->root.get(), 0700) != 0) return about(directory, errno);
  const auto subdirectory = [&](const char* name) -> Result<UniqueFd> {
    if (::mkdirat(impl->root.get(), name, 0700) != 0 && errno != EEXIST) return about(directory + "/" + name, errno);
    UniqueFd fd(::openat(impl->root.get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return about(directory + "/" + name, errno);
    return fd;
  };
  SANDBOX_TRY(impl->layers, subdirectory("layers"));
  SANDBOX_TRY(impl->templates, subdirectory("templates"));
  SANDBOX_TRY(impl->work, subdirectory("work"));
  impl->options = std::move(options);
  SANDBOX_CHECK(impl->sweep());
  return std::unique_ptr<ImageStore>(new ImageStore(std::move(impl)));
}

Result<void> ImageStore::Impl::sweep() {
  SANDBOX_TRY(const StoreLock lock, StoreLock::take(root.get()));
  SANDBOX_TRY(const std::vector<std::string> unfinished, os::beneath::list(work.get(), "."));
  // Some may be layers that a killed collection took away: see collect().
  if (!unfinished.empty() && ::fsync(layers.get()) != 0) return Error::from_errno(errno, "image.sync");
  for (const std::string& name : unfinished) {
    const UniqueFd fd(::openat(work.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;  // its owner lives
    os::beneath::remove_tree(work.get(), name).ignore("in the way of nothing; the next open tries again");
  }
  // Archives whose record never came.
  SANDBOX_TRY(const std::vector<std::string> names, os::beneath::list(templates.get(), "."));
  for (const std::string& name : names) {
    constexpr std::string_view kArchive = ".tar.zst";
    if (!name.ends_with(kArchive)) continue;
    const std::string record = name.substr(0, name.size() - kArchive.size()) + ".meta";
    if (!std::binary_search(names.begin(), names.end(), record)) ::unlinkat(templates.get(), name.c_str(), 0);
  }
  return {};
}

// ---- images ---------------------------------------------------------------------------------------------------------

Result<std::string> ImageStore::identity(const Image& image) const {
  const std::string& path = image.reference();
  switch (image.kind()) {
    case Image::Kind::host: return std::string("host");
    case Image::Kind::template_id: return path;
    case Image::Kind::directory:
    case Image::Kind::tar: break;
  }
  if (!path.starts_with('/') || path.find('\0') != std::string::npos)
    return Error(ErrorCode::invalid_argument, "image \"" + core::escape_control(path) + "\" is not an absolute path");
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return about(path, errno);
  const auto time = [](timespec t) { return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec); };
  const bool directory = image.kind() == Image::Kind::directory;
  return std::string(directory ? "dir:" : "tar:") + std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) + ":" +
         std::to_string(status.st_size) + ":" + time(status.st_mtim) + ":" + time(status.st_ctim);
}

Result<std::string> ImageStore::Impl::digest_of(int fd, const std::string& identity, const std::string& path) {
  {
    std::lock_guard lock(mutex);
    if (const auto found = digests.find(identity); found != digests.end()) return found->second;
  }
  Sha256 hash;
  std::vector<std::byte> buffer(1 << 20);
  auto reported = std::chrono::steady_clock::now();
  for (std::uint64_t total = 0;;) {
    SANDBOX_TRY(const std::size_t got, read_some(fd, buffer, path));
    if (got == 0) break;
    hash.add(ByteView(buffer).first(got));
    total += got;
    if (const auto now = std::chrono::steady_clock::now(); options.on_progress && now - reported > std::chrono::seconds(1)) {
      reported = now;
      options.on_progress("reading " + path + ": " + std::to_string(total >> 20) + " MiB");
    }
  }
  std::string digest = hash.finish();
  std::lock_guard lock(mutex);
  if (digests.size() > 1024) digests.clear();
  digests[identity] = digest;
  return digest;
}

/// The layer, if it is there and stays.
Result<std::shared_ptr<LayerPin>> ImageStore::Impl::pin(const std::string& digest) {
  std::lock_guard lock(mutex);
  if (const auto found = pins.find(digest); found != pins.end())
    if (auto pinned = found->second.lock()) return pinned;
  std::erase_if(pins, [](const auto& entry) { return entry.second.expired(); });
  for (;;) {
    UniqueFd fd(::openat(layers.get(), digest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno == ENOENT) return std::shared_ptr<LayerPin>();
    if (!fd) return about(layer_path(digest), errno);
    if (::flock(fd.get(), LOCK_SH) != 0) {
      if (errno == EINTR) continue;  // a collection held it that moment
      return about(layer_path(digest), errno);
    }
    // Whoever removes it moves it away first: the lock counts only if the name still leads to what was locked.
    struct stat locked {}, named {};
    if (::fstat(fd.get(), &locked) != 0) return about(layer_path(digest), errno);
    if (::fstatat(layers.get(), digest.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 || named.st_ino != locked.st_ino) continue;
    note_use(fd.get());
    auto pinned = std::make_shared<LayerPin>();
    pinned->directory = std::move(fd);
    pins[digest] = pinned;
    return pinned;
  }
}

Result<std::shared_ptr<LayerPin>> ImageStore::Impl::layer(const std::string& digest,
                                                          const std::function<Result<void>(int tree)>& fill) {
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !unpacking.contains(digest); });
    unpacking.insert(digest);
  }
  auto made = make_layer(digest, fill);
  {
    std::lock_guard lock(mutex);
    unpacking.erase(digest);
  }
  changed.notify_all();
  return made;
}

Result<std::shared_ptr<LayerPin>> ImageStore::Impl::make_layer(const std::string& digest,
                                                               const std::function<Result<void>(int tree)>& fill) {
  for (;;) {
    SANDBOX_TRY(std::shared_ptr<LayerPin> there, pin(digest));
    if (there) return there;
    SANDBOX_TRY(Work place, Work::make(root.get(), work.get()));
    if (::mkdirat(place.fd(), "tree", 0755) != 0) return Error::from_errno(errno, "image.unpack");
    const UniqueFd tree(::openat(place.fd(), "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!tree) return Error::from_errno(errno, "image.unpack");
    SANDBOX_CHECK(fill(tree.get()));
    // One syncfs for all of it: thousands of fsyncs would take minutes.
    if (::syncfs(tree.get()) != 0) return Error::from_errno(errno, "image.sync");
    if (::renameat(place.fd(), "tree", layers.get(), digest.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
      return Error::from_errno(errno, "image.rename", layer_path(digest));
    if (::fsync(layers.get()) != 0) return Error::from_errno(errno, "image.sync");
  }  // another process may have been faster; either way it is there now
}

Result<ResolvedImage> ImageStore::resolve(const Image& image) {
  ResolvedImage resolved;
  const std::string& path = image.reference();
  switch (image.kind()) {
    case Image::Kind::host:
      resolved.host_userland = true;
      resolved.digest = "host";
      return resolved;

    case Image::Kind::directory: {
      SANDBOX_TRY(resolved.digest, identity(image));
      const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!fd) {
        if (errno == ENOTDIR) return Error(ErrorCode::invalid_argument, core::escape_control(path) + " is not a directory");
        return about(path, errno);
      }
      struct stat status {};
      if (::fstatat(fd.get(), "usr", &status, AT_SYMLINK_NOFOLLOW) != 0 && ::fstatat(fd.get(), "bin", &status, AT_SYMLINK_NOFOLLOW) != 0)
        return Error(ErrorCode::invalid_argument, core::escape_control(path) + " is not a root file system: neither usr nor bin in it");
      resolved.layers.push_back(path);
      return resolved;
    }

    case Image::Kind::tar: {
      SANDBOX_TRY(const std::string id, identity(image));
      const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
      if (!fd) return about(path, errno);
      struct stat status {};
      if (::fstat(fd.get(), &status) != 0) return about(path, errno);
      if (!S_ISREG(status.st_mode)) return Error(ErrorCode::invalid_argument, core::escape_control(path) + " is not a regular file");
      SANDBOX_TRY(resolved.digest, impl_->digest_of(fd.get(), id, path));
      SANDBOX_TRY(resolved.pin, impl_->layer(resolved.digest, [&](int tree) -> Result<void> {
        if (::lseek(fd.get(), 0, SEEK_SET) < 0) return about(path, errno);
        Sha256 hash;
        UnpackOptions how;
        how.limits = impl_->options.limits;
        how.name = path;
        how.on_progress = impl_->options.on_progress;
        const Source source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
          SANDBOX_TRY(const std::size_t got, read_some(fd.get(), buffer, path));
          hash.add(buffer.first(got));
          return got;
        };
        SANDBOX_CHECK(unpack(source, tree, how));
        // The reader stops at the archive's end mark; what follows belongs to the digest too.
        std::vector<std::byte> rest(64 << 10);
        for (;;) {
          SANDBOX_TRY(const std::size_t got, source(rest));
          if (got == 0) break;
        }
        if (hash.finish() != resolved.digest) return Error(ErrorCode::corrupt, path + " changed while it was read").with_retry(Retry::now);
        if (::fstatat(tree, "usr", &status, AT_SYMLINK_NOFOLLOW) != 0 && ::fstatat(tree, "bin", &status, AT_SYMLINK_NOFOLLOW) != 0)
          return Error(ErrorCode::invalid_argument, core::escape_control(path) + " is not a root file system: neither usr nor bin in it");
        // Small archives leave out what every sandbox gets mounted; the layer is ours, so the places can be made.
        for (const auto& [name, mode] : {std::pair{"dev", 0755u}, {"etc", 0755u}, {"proc", 0555u}, {"root", 0700u}, {"sys", 0555u}, {"tmp", 01777u}})
          if (::mkdirat(tree, name, mode) != 0 && errno != EEXIST) return Error::from_errno(errno, "image.unpack", name);
        return {};
      }));
      resolved.layers.push_back(impl_->layer_path(resolved.digest));
      resolved.pinned = resolved.layers;
      return resolved;
    }

    case Image::Kind::template_id: {
      SANDBOX_TRY(const TemplateInfo info, find_template(path));
      auto base = resolve(info.image);
      if (!base) return std::move(base).error().with_context("the image under template " + info.id);
      const std::string digest = info.digest.substr(7);
      SANDBOX_TRY(auto scratch, impl_->layer(digest, [&](int tree) { return impl_->unpack_template(info, tree); }));
      resolved = *std::move(base);
      resolved.scratch_layer = impl_->layer_path(digest);
      resolved.pinned.push_back(resolved.scratch_layer);
      resolved.digest += "+" + digest;
      resolved.pin = std::make_shared<std::pair<std::shared_ptr<void>, std::shared_ptr<void>>>(resolved.pin, scratch);
      return resolved;
    }
  }
  return Error(ErrorCode::internal, "unknown kind of image");
}

}  // namespace sandbox::image
