#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/image.hpp>
#include <sandbox/limits.hpp>
#include <sandbox/prune.hpp>
#include <sandbox/result.hpp>
#include <sandbox/template.hpp>

namespace sandbox::image {

/// A root file system as directories on this host. The runtime turns it into backend::ResolvedImage.
struct ResolvedImage {
  bool host_userland = false;       ///< compose from this host's /usr and chosen parts of /etc
  std::vector<std::string> layers;  ///< absolute directories, lowest first
  std::string scratch_layer;        ///< template: directory with root/, tmp/, shm/ (and upper/); empty otherwise
  std::string digest;               ///< identifies the content
  std::vector<std::string> pinned;  ///< those of the directories above that are the store's: what `pin` is about
  /// While it lives, no process sharing the store removes the layers.
  std::shared_ptr<void> pin;
};

/// Bounds on what one archive may unpack to. Beyond them: resource_exhausted.
struct UnpackLimits {
  std::uint64_t max_entries = 4'000'000;
  std::uint64_t max_bytes = std::uint64_t{64} << 30;       ///< content of all files together
  std::uint64_t max_ratio = 1000;                          ///< unpacked to packed bytes …
  std::uint64_t ratio_from = std::uint64_t{1} << 30;       ///< … looked at from this many unpacked bytes on
};

struct StoreOptions {
  std::string directory;  ///< absolute; created 0700 with its parents
  UnpackLimits limits;
  /// One line about long work ("unpacking x.tar: 512 MiB"), about once a second, on the thread that does it.
  std::function<void(const std::string&)> on_progress;
  std::function<std::chrono::system_clock::time_point()> now = &std::chrono::system_clock::now;
};

struct CollectOptions {
  CollectOptions() = default;
  std::chrono::seconds unused_for{0};
  std::size_t most = SIZE_MAX;   ///< layers
  bool dry_run = false;
  bool measure = false;          ///< fill in sizes, which takes a look at every file
};

/// Layers and templates on disk. Several processes may use one directory at the same time. Everything appears by
/// rename after it is synced: a crash or kill leaves whole things or nothing, and what it was working on is swept by the
/// next open. Thread-safe.
///
///     <directory>/layers/<sha256>/        unpacked archives and templates, never changed after they appear but for the
///                                         times of the top directory: its ctime is that of the last use that began or ended
///     <directory>/templates/<id>.tar.zst  and <id>.meta; the template exists once the latter does
///     <directory>/work/<random>/          unfinished work, locked by the process that does it
class ImageStore {
 public:
  /// Errors: permission_denied, invalid_argument (not absolute), by errno; all name the directory.
  static Result<std::unique_ptr<ImageStore>> open(StoreOptions options);
  ~ImageStore();

  /// A cheap text that changes when the image may have: one stat(2). Part of the pool key.
  ///   host: "host". directory, tar: device, inode, size, mtime and ctime of the path. template: its id.
  /// A directory's identity does not notice changes below its top level: an image directory must not be edited while in use.
  /// Errors: not_found, permission_denied, invalid_argument; all name the path.
  Result<std::string> identity(const Image& image) const;

  /// Directories for `image`; a tar or template is unpacked first if it never was (once, however many ask). A tar's
  /// missing mount points (/dev, /etc, /proc, /root, /sys, /tmp) are made in its layer.
  /// Errors: not_found, permission_denied, invalid_argument (not absolute, not a root file system, unsafe archive),
  /// resource_exhausted (UnpackLimits, disk), corrupt (template or archive damaged).
  Result<ResolvedImage> resolve(const Image& image);

  struct TemplateDraft {
    std::string label;                  ///< at most 256 bytes, no control bytes
    Image image = Image::host();        ///< of the sandbox; a template's own base is recorded instead
    Limits limits;
    bool writable_root = false;
    int directory = -1;                 ///< holds root/, tmp/, shm/ and maybe upper/; content is hostile
    std::uint32_t first_id = 0;         ///< host id of uid 0 inside
  };
  /// Packs `draft.directory`. Content-addressed: saving the same again answers the template there is, newly labelled.
  /// Sockets, FIFOs and devices are left out. Errors: resource_exhausted (disk, depth, size), invalid_argument (label).
  Result<TemplateInfo> save_template(const TemplateDraft& draft);
  /// By creation time, then id. Records that cannot be read are left out.
  Result<std::vector<TemplateInfo>> templates() const;
  /// Errors: not_found, corrupt (its record).
  Result<TemplateInfo> find_template(const std::string& id) const;
  /// Errors: not_found, failed_precondition (a ResolvedImage of it lives, in this process or another).
  Result<void> remove_template(const std::string& id);
  /// Removes (or only tells of) layers that no template is or stands on, that nobody has pinned, in any process, nor a
  /// launcher for a sandbox that may outlive its own, and that were last used `unused_for` ago. Layers go as a whole: what a
  /// killed process had begun to remove is swept by the next open. Takes the store's lock shortly. By digest.
  /// Errors: by errno; of one layer that does not go, when the others are gone.
  Result<std::vector<PrunedLayer>> collect(const CollectOptions& options);
  /// Whether there is any layer; one look into a directory.
  bool has_layers() const noexcept;
  /// Bytes on disk of all layers and templates.
  Result<std::uint64_t> disk_usage() const;

 private:
  struct Impl;
  explicit ImageStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::image
