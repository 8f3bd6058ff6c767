#include "image/store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "core/sync_point.hpp"
#include "core/text.hpp"
#include "core/unique_fd.hpp"
#include "image/digest.hpp"
#include "image/pack.hpp"
#include "image/unpack.hpp"
#include "os/beneath.hpp"
#include "protocol/messages.hpp"

namespace sandbox::image {
namespace {

using core::UniqueFd;

constexpr std::size_t kMaxRecord = 64 << 10;
constexpr std::size_t kMaxLabel = 256;
constexpr int kCompression = 3;

/// What <id>.meta holds after its own digest and a newline. Field numbers are the format: append, never renumber.
struct TemplateRecord {
  std::uint32_t version = 1;
  std::string id, label, digest;
  std::uint64_t size = 0;
  std::uint32_t image_kind = 0;
  std::string image_reference;
  std::uint64_t memory = 0, cpus = 0, pids = 0, open_files = 0, disk = 0, inodes = 0;  ///< cpus: bits of the double
  bool writable_root = false;
  std::int64_t created_ns = 0;
  std::string base;  ///< layer of the archive underneath; empty: another kind of image, or not known
  SANDBOX_FIELDS(SANDBOX_FIELD(1, version) SANDBOX_FIELD(2, id) SANDBOX_FIELD(3, label) SANDBOX_FIELD(4, digest)
                 SANDBOX_FIELD(5, size) SANDBOX_FIELD(6, image_kind) SANDBOX_FIELD(7, image_reference)
                 SANDBOX_FIELD(8, memory) SANDBOX_FIELD(9, cpus) SANDBOX_FIELD(10, pids) SANDBOX_FIELD(11, open_files)
                 SANDBOX_FIELD(12, disk) SANDBOX_FIELD(13, inodes) SANDBOX_FIELD(14, writable_root)
                 SANDBOX_FIELD(15, created_ns) SANDBOX_FIELD(16, base))
};

std::optional<Image> image_of(std::uint32_t kind, const std::string& reference) {
  switch (static_cast<Image::Kind>(kind)) {
    case Image::Kind::host: return Image::host();
    case Image::Kind::directory: return Image::directory(reference);
    case Image::Kind::tar: return Image::tar(reference);
    case Image::Kind::template_id: return std::nullopt;  // saved templates are flat
  }
  return std::nullopt;
}

TemplateRecord record_of(const TemplateInfo& info) {
  TemplateRecord record;
  record.id = info.id;
  record.label = info.label;
  record.digest = info.digest;
  record.size = info.size.bytes();
  record.image_kind = static_cast<std::uint32_t>(info.image.kind());
  record.image_reference = info.image.reference();
  record.memory = info.limits.memory().bytes();
  record.cpus = std::bit_cast<std::uint64_t>(info.limits.cpus());
  record.pids = info.limits.pids();
  record.open_files = info.limits.open_files();
  record.disk = info.limits.disk().bytes();
  record.inodes = info.limits.inodes();
  record.writable_root = info.writable_root;
  record.created_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(info.created.time_since_epoch()).count();
  return record;
}

std::optional<TemplateInfo> info_of(const TemplateRecord& record, const std::string& id) {
  auto image = image_of(record.image_kind, record.image_reference);
  if (record.version != 1 || record.id != id || !image || !record.digest.starts_with("sha256:") || record.digest.size() != 71)
    return std::nullopt;
  TemplateInfo info;
  info.id = record.id;
  info.label = record.label;
  info.digest = record.digest;
  info.size = ByteCount(record.size);
  info.image = *std::move(image);
  info.limits.memory(ByteCount(record.memory)).cpus(std::bit_cast<double>(record.cpus));
  info.limits.pids(static_cast<std::uint32_t>(record.pids)).open_files(static_cast<std::uint32_t>(record.open_files));
  info.limits.disk(ByteCount(record.disk)).inodes(record.inodes);
  info.writable_root = record.writable_root;
  info.created = std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(record.created_ns)));
  return info;
}

/// A template as its record tells of it.
struct KnownTemplate {
  TemplateInfo info;
  std::string base;  ///< TemplateRecord::base
};

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_template_id(std::string_view id) {
  return id.starts_with("tpl-") && id.size() == 20 && id.find_first_not_of("0123456789abcdef", 4) == std::string_view::npos;
}

Error about(const std::string& path, int number) { return Error::from_errno(number, "image.open", core::escape_control(path)); }

Result<void> write_all(int fd, std::string_view bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error::from_errno(errno, "image.write", what);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::size_t> read_some(int fd, std::span<std::byte> buffer, std::string_view what) {
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return Error::from_errno(errno, "image.read", what);
  }
}

/// An exclusive flock(2) on the store, for what must be seen whole by other processes. Short.
class StoreLock {
 public:
  static Result<StoreLock> take(int root) {
    UniqueFd fd(::openat(root, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) return Error::from_errno(errno, "image.lock");
    while (::flock(fd.get(), LOCK_EX) != 0)
      if (errno != EINTR) return Error::from_errno(errno, "image.lock");
    return StoreLock(std::move(fd));
  }
  StoreLock(StoreLock&&) = default;
  /// By name, not by closing: a child that this process is about to execute (a launcher) may have a copy for a moment.
  ~StoreLock() {
    if (fd_) ::flock(fd_.get(), LOCK_UN);
  }

 private:
  explicit StoreLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// A directory for unfinished work. Its lock tells other processes' sweeps that somebody is at it; removed with the object.
class Work {
 public:
  static Result<Work> make(int root, int parent) {
    SANDBOX_TRY(const StoreLock lock, StoreLock::take(root));  // between mkdir and flock no sweep may look
    std::uint64_t random = 0;
    while (::getrandom(&random, sizeof random, 0) != sizeof random) {
    }
    std::string name = core::to_hex(&random, sizeof random);
    if (::mkdirat(parent, name.c_str(), 0700) != 0) return Error::from_errno(errno, "image.work", name);
    UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return Error::from_errno(errno, "image.work", name);
    return Work(parent, std::move(name), std::move(fd));
  }
  Work(Work&& other) noexcept : parent_(other.parent_), name_(std::exchange(other.name_, {})), fd_(std::move(other.fd_)) {}
  Work& operator=(Work&&) = delete;
  ~Work() {
    if (!name_.empty()) os::beneath::remove_tree(parent_, name_).ignore("the next open sweeps it");
  }
  int fd() const noexcept { return fd_.get(); }

 private:
  Work(int parent, std::string name, UniqueFd fd) : parent_(parent), name_(std::move(name)), fd_(std::move(fd)) {}
  int parent_;
  std::string name_;
  UniqueFd fd_;
};

struct Decompressor {
  Decompressor() : context(::ZSTD_createDCtx()) {}
  ~Decompressor() { ::ZSTD_freeDCtx(context); }
  Decompressor(const Decompressor&) = delete;
  ZSTD_DCtx* context;
};

struct Compressor {
  Compressor() : context(::ZSTD_createCCtx()) {
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, kCompression);
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  }
  ~Compressor() { ::ZSTD_freeCCtx(context); }
  Compressor(const Compressor&) = delete;
  ZSTD_CCtx* context;
};

/// Notes in a layer's ctime that it is in use, or was until now.
void note_use(int layer) {
  const timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  static_cast<void>(::futimens(layer, times));  // refused: it is unpacked again if it is removed too soon
}

/// A shared flock on a layer: whoever removes layers asks for the exclusive one.
struct LayerPin {
  LayerPin() = default;
  LayerPin(const LayerPin&) = delete;
  ~LayerPin() {
    if (!directory) return;
    note_use(directory.get());
    ::flock(directory.get(), LOCK_UN);  // as for StoreLock
  }
  UniqueFd directory;
};

}  // namespace

struct ImageStore::Impl {
  StoreOptions options;
  UniqueFd root, layers, templates, work;

  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::string> unpacking;               ///< digests
  std::map<std::string, std::string> digests;    ///< identity of a tar -> digest of its content
  std::map<std::string, std::weak_ptr<LayerPin>> pins;

  std::string layer_path(const std::string& digest) const { return options.directory + "/layers/" + digest; }

  Result<void> sweep();
  Result<std::string> digest_of(int fd, const std::string& identity, const std::string& path);
  Result<std::shared_ptr<LayerPin>> pin(const std::string& digest);
  Result<std::shared_ptr<LayerPin>> layer(const std::string& digest, const std::function<Result<void>(int tree)>& fill);
  Result<std::shared_ptr<LayerPin>> make_layer(const std::string& digest, const std::function<Result<void>(int tree)>& fill);
  Result<KnownTemplate> read_record(const std::string& id) const;
  std::string base_of(const ImageStore& store, const Image& image);
  Result<std::set<std::string>> kept() const;
  Result<void> unpack_template(const TemplateInfo& info, int tree);
};

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

// ---- templates ------------------------------------------------------------------------------------------------------

Result<void> ImageStore::Impl::unpack_template(const TemplateInfo& info, int tree) {
  const UniqueFd fd(::openat(templates.get(), (info.id + ".tar.zst").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    if (errno == ENOENT) return Error(ErrorCode::corrupt, "template " + info.id + ": its archive is missing");
    return about(info.id, errno);
  }
  Decompressor zstd;
  Sha256 hash;
  std::vector<std::byte> packed(::ZSTD_DStreamInSize());
  ZSTD_inBuffer in{packed.data(), 0, 0};
  std::size_t hint = 1;
  const Source source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    while (out.pos == 0) {
      if (in.pos == in.size) {
        SANDBOX_TRY(in.size, read_some(fd.get(), packed, info.id));
        in.pos = 0;
        if (in.size == 0) {
          if (hint != 0) return Error(ErrorCode::corrupt, "template " + info.id + ": its archive is cut short");
          break;
        }
      }
      hint = ::ZSTD_decompressStream(zstd.context, &out, &in);
      if (::ZSTD_isError(hint)) return Error(ErrorCode::corrupt, "template " + info.id + ": " + ::ZSTD_getErrorName(hint));
    }
    hash.add(buffer.first(out.pos));
    return out.pos;
  };
  UnpackOptions how;
  how.limits.max_ratio = UINT64_MAX;  // our own archive of a quota-limited tree
  how.overlay_whiteouts = true;
  how.name = "template " + info.id;
  how.on_progress = options.on_progress;
  if (auto unpacked = unpack(source, tree, how); !unpacked) {
    Error error = std::move(unpacked).error();
    if (error.code() != ErrorCode::invalid_argument) return error;
    error.ignore("an archive of ours that breaks the rules is a damaged one");
    return Error(ErrorCode::corrupt, error.message()).with_operation("image.unpack");
  }
  std::vector<std::byte> rest(64 << 10);
  for (;;) {
    SANDBOX_TRY(const std::size_t got, source(rest));
    if (got == 0) break;
  }
  if ("sha256:" + hash.finish() != info.digest)
    return Error(ErrorCode::corrupt, "template " + info.id + ": content does not match its digest").with_operation("image.unpack");
  return {};
}

Result<TemplateInfo> ImageStore::save_template(const TemplateDraft& draft) {
  if (draft.label.size() > kMaxLabel) return Error(ErrorCode::invalid_argument, "template label longer than 256 bytes");
  if (core::escape_control(draft.label) != draft.label) return Error(ErrorCode::invalid_argument, "template label with control bytes");
  TemplateInfo info;
  info.label = draft.label;
  info.limits = draft.limits;
  info.writable_root = draft.writable_root;
  info.image = draft.image;
  // A sandbox made from a template holds only what changed since: the result is whole, not a chain of templates.
  std::vector<PackLevel> levels{{draft.directory, draft.first_id}};
  std::shared_ptr<void> parent_pin;
  UniqueFd parent_layer;
  std::string base;
  if (draft.image.kind() == Image::Kind::template_id) {
    SANDBOX_TRY(KnownTemplate parent, impl_->read_record(draft.image.reference()));
    info.image = std::move(parent.info.image);
    base = std::move(parent.base);
    SANDBOX_TRY(ResolvedImage resolved, resolve(draft.image));
    parent_pin = std::move(resolved.pin);
    parent_layer = UniqueFd(::open(resolved.scratch_layer.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent_layer) return about(resolved.scratch_layer, errno);
    levels.push_back({parent_layer.get(), 0});
  }

  if (std::string known = impl_->base_of(*this, info.image); !known.empty()) base = std::move(known);

  SANDBOX_TRY(Work place, Work::make(impl_->root.get(), impl_->work.get()));
  const UniqueFd archive(::openat(place.fd(), "archive", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!archive) return Error::from_errno(errno, "image.save");
  Compressor zstd;
  Sha256 hash;
  std::vector<char> packed(::ZSTD_CStreamOutSize());
  std::uint64_t size = 0;
  const auto compress = [&](ByteView bytes, ZSTD_EndDirective mode) -> Result<void> {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (;;) {
      ZSTD_outBuffer out{packed.data(), packed.size(), 0};
      const std::size_t left = ::ZSTD_compressStream2(zstd.context, &out, &in, mode);
      if (::ZSTD_isError(left)) return Error(ErrorCode::internal, std::string("zstd: ") + ::ZSTD_getErrorName(left)).with_operation("image.save");
      size += out.pos;
      SANDBOX_CHECK(write_all(archive.get(), {packed.data(), out.pos}, "template archive"));
      if (mode == ZSTD_e_continue ? in.pos == in.size : left == 0) return {};
    }
  };
  // What lies underneath is part of the content: the same files over another image are another template.
  const std::string comment = "sandbox template 1 image=" + std::to_string(static_cast<int>(info.image.kind())) + ":" +
                              info.image.reference() + " writable_root=" + (info.writable_root ? "1" : "0");
  SANDBOX_CHECK(pack(levels, comment, [&](ByteView bytes) -> Result<void> {
    hash.add(bytes);
    return compress(bytes, ZSTD_e_continue);
  }));
  SANDBOX_CHECK(compress({}, ZSTD_e_end));
  if (::fsync(archive.get()) != 0) return Error::from_errno(errno, "image.sync");

  SANDBOX_SYNC_POINT("template.archive_written");
  const std::string digest = hash.finish();
  info.digest = "sha256:" + digest;
  info.id = "tpl-" + digest.substr(0, 16);
  info.size = ByteCount(size);
  info.created = std::chrono::system_clock::now();

  SANDBOX_TRY(const StoreLock lock, StoreLock::take(impl_->root.get()));
  auto existing = impl_->read_record(info.id);
  if (existing) {
    if (existing->info.digest != info.digest)
      return Error(ErrorCode::already_exists, "another template has the id " + info.id).with_operation("image.save");
    existing->info.label = info.label;
    info = std::move(existing->info);
    if (base.empty()) base = std::move(existing->base);
  } else {
    existing.ignore("there is none yet, or none that can be read: it is written now");
  }
  if (::renameat(place.fd(), "archive", impl_->templates.get(), (info.id + ".tar.zst").c_str()) != 0 ||
      ::fsync(impl_->templates.get()) != 0)
    return Error::from_errno(errno, "image.save", info.id);
  SANDBOX_SYNC_POINT("template.archive_renamed");
  TemplateRecord whole = record_of(info);
  whole.base = std::move(base);
  const std::string body = protocol::encode(whole);
  Sha256 check;
  check.add(as_bytes(body));
  const std::string record = check.finish() + "\n" + body;
  const UniqueFd meta(::openat(place.fd(), "meta", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!meta) return Error::from_errno(errno, "image.save", info.id);
  SANDBOX_CHECK(write_all(meta.get(), record, "template record"));
  SANDBOX_SYNC_POINT("template.record_written");
  // From this rename on the template exists.
  if (::fsync(meta.get()) != 0 || ::renameat(place.fd(), "meta", impl_->templates.get(), (info.id + ".meta").c_str()) != 0 ||
      ::fsync(impl_->templates.get()) != 0)
    return Error::from_errno(errno, "image.save", info.id);
  SANDBOX_SYNC_POINT("template.saved");
  return info;
}

Result<KnownTemplate> ImageStore::Impl::read_record(const std::string& id) const {
  if (!is_template_id(id)) return Error(ErrorCode::not_found, "no template \"" + core::escape_control(id) + "\"").with_operation("image.template");
  auto text = os::beneath::read_file(templates.get(), id + ".meta", kMaxRecord);
  if (!text) {
    if (text.error().code() != ErrorCode::not_found) return std::move(text).error();
    text.ignore("said better below");
    return Error(ErrorCode::not_found, "no template " + id).with_operation("image.template");
  }
  const Error damaged = Error(ErrorCode::corrupt, "the record of template " + id + " is damaged").with_operation("image.template");
  damaged.ignore("made in advance");
  if (text->size() < 65 || (*text)[64] != '\n') return damaged;
  const std::string_view body = std::string_view(*text).substr(65);
  Sha256 check;
  check.add(as_bytes(body));
  if (check.finish() != text->substr(0, 64)) return damaged;
  auto record = protocol::decode<TemplateRecord>(as_bytes(body));
  if (!record) {
    record.ignore("said better by its caller");
    return damaged;
  }
  if (auto info = info_of(*record, id)) return KnownTemplate{*std::move(info), std::move(record->base)};
  return damaged;
}

/// The layer of an archive that this process has resolved before, which saving a sandbox on it implies; otherwise "".
std::string ImageStore::Impl::base_of(const ImageStore& store, const Image& image) {
  if (image.kind() != Image::Kind::tar) return {};
  const auto identity = store.identity(image);
  if (!identity) {
    identity.error().ignore("the archive is gone; its layer is used while it is used");
    return {};
  }
  std::lock_guard lock(mutex);
  const auto found = digests.find(*identity);
  return found == digests.end() ? std::string() : found->second;
}

Result<std::vector<TemplateInfo>> ImageStore::templates() const {
  SANDBOX_TRY(const std::vector<std::string> names, os::beneath::list(impl_->templates.get(), "."));
  std::vector<TemplateInfo> all;
  for (const std::string& name : names) {
    if (!name.ends_with(".meta")) continue;
    auto known = impl_->read_record(name.substr(0, name.size() - 5));
    if (known) all.push_back(std::move(known->info));
    else known.ignore("find_template tells about damaged ones");
  }
  std::sort(all.begin(), all.end(), [](const TemplateInfo& a, const TemplateInfo& b) {
    return a.created != b.created ? a.created < b.created : a.id < b.id;
  });
  return all;
}

Result<TemplateInfo> ImageStore::find_template(const std::string& id) const {
  SANDBOX_TRY(KnownTemplate known, impl_->read_record(id));
  return std::move(known.info);
}

Result<void> ImageStore::remove_template(const std::string& id) {
  if (!is_template_id(id)) return Error(ErrorCode::not_found, "no template \"" + core::escape_control(id) + "\"").with_operation("image.template");
  SANDBOX_TRY(Work place, Work::make(impl_->root.get(), impl_->work.get()));
  SANDBOX_TRY(const StoreLock lock, StoreLock::take(impl_->root.get()));
  auto known = impl_->read_record(id);
  if (known) {
    const std::string digest = known->info.digest.substr(7);
    const UniqueFd layer(::openat(impl_->layers.get(), digest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (layer) {
      if (::flock(layer.get(), LOCK_EX | LOCK_NB) != 0)
        return Error(ErrorCode::failed_precondition, "template " + id + " is in use").with_operation("image.template");
      if (::renameat(impl_->layers.get(), digest.c_str(), place.fd(), "layer") != 0) return Error::from_errno(errno, "image.remove", id);
    }
  } else if (known.error().code() != ErrorCode::corrupt) {
    return std::move(known).error();
  } else {
    known.ignore("a damaged template can be removed");
  }
  if (::unlinkat(impl_->templates.get(), (id + ".meta").c_str(), 0) != 0) return Error::from_errno(errno, "image.remove", id);
  if (::unlinkat(impl_->templates.get(), (id + ".tar.zst").c_str(), 0) != 0 && errno != ENOENT)
    return Error::from_errno(errno, "image.remove", id);
  if (::fsync(impl_->templates.get()) != 0) return Error::from_errno(errno, "image.sync");
  return {};
}

namespace {

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

// ---- collecting -----------------------------------------------------------------------------------------------------

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
