#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sandbox::agent {

/// Which inotify watch descriptor stands for which directory of a watched tree. Paths follow from names, so that a
/// renamed directory takes one change however much is below it. Pure.
class WatchTree {
 public:
  explicit WatchTree(std::string root) : root_(std::move(root)) {}

  /// The root has parent -1 and no name. A descriptor known already (the kernel gives the same number for the same
  /// directory) moves to the new place. False when it is there already.
  bool add(int watch, int parent, std::string_view name);
  /// The kernel has dropped the watch.
  void forget(int watch);
  /// -1 when there is none.
  int child(int parent, std::string_view name) const;
  void move(int watch, int parent, std::string_view name);
  /// Takes `watch` and all below it out, calling `removed` for each.
  void remove_subtree(int watch, const std::function<void(int)>& removed);
  bool contains(int watch) const { return nodes_.contains(watch); }
  /// Absolute path of directory `watch`; none when it, or one above it, is not of the tree (any more).
  std::optional<std::string> path(int watch) const;
  /// Absolute path of `name` in it.
  std::optional<std::string> path(int watch, std::string_view name) const;
  std::size_t size() const noexcept { return nodes_.size(); }

 private:
  struct Node {
    int parent;
    std::string name;
    std::map<std::string, int, std::less<>> children;
  };
  void unlink(int watch);
  std::string root_;
  std::unordered_map<int, Node> nodes_;
};

}  // namespace sandbox::agent
