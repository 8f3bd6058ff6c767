#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"
#include "launch/plan.hpp"

/// The launcher's own surroundings and the image trees in them.
///
/// At start the launcher leaves the host's mount namespace twice: one private copy is only kept as a descriptor (that is
/// where host directories are looked up), the other is emptied down to a small tmpfs, one unobstructed /proc (without it
/// the kernel refuses a new proc inside a user namespace) and the trees. Every sandbox starts from a copy of the latter,
/// so it is kept small:
///   /proc          unobstructed
///   /trees/N       image trees, read-only
///   /new /work     where a sandbox attaches its root and its writable file system before it enters them
///   /lower/0 …     where it attaches overlay layers
///   /nothing /empty   what masks are made of
namespace sandbox::launcher {

inline constexpr int kMaxLowers = 65;  ///< launch::kMaxLayers and a composed one

/// An image, mounted. Undone (unmounted, directory removed) by its destructor.
class MountedTree {
 public:
  MountedTree(std::string path, std::string key) : path_(std::move(path)), key_(std::move(key)) {}
  ~MountedTree();
  MountedTree(const MountedTree&) = delete;

  const std::string& key() const noexcept { return key_; }   ///< the encoded launch::Tree it was made from
  /// Without overlay: the one tree to show, relative to the base ("trees/3/root").
  /// With overlay: lower directories, highest first; the sandbox joins them.
  std::vector<std::string> lowers;
  /// Subtrees attached over the overlay: host directories of a composed root ("usr"), as path inside -> base path.
  std::vector<std::pair<std::string, std::string>> attached;
  bool overlay = false;
  std::vector<std::string> mounts;  ///< mount points inside, without those every sandbox has

 private:
  friend class Base;
  std::string path_, key_;
};

class Base {
 public:
  /// Must be the first thing a process does: changes its namespaces and root.
  /// Errors: permission_denied or unsupported, saying what to enable.
  static Result<Base> enter();

  bool rootless() const noexcept { return rootless_; }
  /// Directory descriptor of the base's root and of its /proc.
  int root() const noexcept { return root_.get(); }
  int proc() const noexcept { return proc_.get(); }
  /// Parts of /proc that other users may read but sandboxes should not, below /proc; directories end in '/'.
  const std::vector<std::string>& masks() const noexcept { return masks_; }

  /// In the host's mount namespace while it lives. Coming back needs only a descriptor we hold; should it fail, the
  /// process ends, since going on in the wrong namespace is never right.
  class HostView {
   public:
    explicit HostView(const Base& base) : HostView(base, base.host_namespace_) {}
    ~HostView();
    HostView(const HostView&) = delete;
    bool entered() const noexcept { return entered_; }

   protected:
    HostView(const Base& base, const core::UniqueFd& where);

   private:
    int own_;
    bool entered_;
  };

  /// The same for a mount namespace like ours, but without the image trees: children are cloned from it, so that what
  /// they copy does not grow with the number of images, and none but their own is in their namespace.
  class LeanView : public HostView {
   public:
    explicit LeanView(const Base& base) : HostView(base, base.lean_namespace_) {}
  };

  /// A clone of the host directory `path`, detached, with `attributes` (MOUNT_ATTR_*) on every mount in it.
  Result<core::UniqueFd> clone_host(const std::string& path, std::uint64_t attributes);
  Result<std::unique_ptr<MountedTree>> mount_tree(const launch::Tree& tree, bool overlay);
  /// A template's writable part, mounted read-only at a base path of its own.
  Result<std::unique_ptr<MountedTree>> mount_scratch(const std::string& path);

 private:
  Base() = default;
  Result<void> compose(int directory, const std::vector<launch::TreeEntry>& entries, MountedTree& tree, const std::string& at);
  Result<void> make_devices(int directory);
  Result<void> copy_host(const std::string& source, int directory, const std::string& path);
  bool rootless_ = false;
  core::UniqueFd host_namespace_, lean_namespace_, own_namespace_, root_, proc_;
  std::vector<std::string> masks_;
  unsigned next_tree_ = 0;
};

}  // namespace sandbox::launcher
