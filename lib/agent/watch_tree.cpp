#include "agent/watch_tree.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace sandbox::agent {

bool WatchTree::add(int watch, int parent, std::string_view name) {
  if (const auto found = nodes_.find(watch); found != nodes_.end()) {
    if (found->second.parent == parent && found->second.name == name) return false;
    move(watch, parent, name);
    return true;
  }
  nodes_.emplace(watch, Node{parent, std::string(name), {}});
  if (const auto up = nodes_.find(parent); up != nodes_.end()) up->second.children.insert_or_assign(std::string(name), watch);
  return true;
}

void WatchTree::unlink(int watch) {
  const auto& node = nodes_.at(watch);
  const auto up = nodes_.find(node.parent);
  if (up == nodes_.end()) return;
  const auto entry = up->second.children.find(node.name);
  if (entry != up->second.children.end() && entry->second == watch) up->second.children.erase(entry);
}

void WatchTree::forget(int watch) {
  if (!nodes_.contains(watch)) return;
  unlink(watch);
  nodes_.erase(watch);
}

int WatchTree::child(int parent, std::string_view name) const {
  const auto up = nodes_.find(parent);
  if (up == nodes_.end()) return -1;
  const auto entry = up->second.children.find(name);
  return entry == up->second.children.end() ? -1 : entry->second;
}

void WatchTree::move(int watch, int parent, std::string_view name) {
  const auto found = nodes_.find(watch);
  if (found == nodes_.end()) return;
  // Never below itself: events of a directory moved back and forth may be read when it is elsewhere again.
  for (int up = parent; up >= 0;) {
    if (up == watch) return;
    const auto node = nodes_.find(up);
    if (node == nodes_.end()) break;
    up = node->second.parent;
  }
  unlink(watch);
  found->second.parent = parent;
  found->second.name = name;
  if (const auto up = nodes_.find(parent); up != nodes_.end()) up->second.children.insert_or_assign(std::string(name), watch);
}

void WatchTree::remove_subtree(int watch, const std::function<void(int)>& removed) {
  if (!nodes_.contains(watch)) return;
  unlink(watch);
  std::vector<int> left{watch};
  while (!left.empty()) {
    const int next = left.back();
    left.pop_back();
    const auto node = nodes_.find(next);
    if (node == nodes_.end()) continue;
    for (const auto& [name, child] : node->second.children) left.push_back(child);
    nodes_.erase(node);
    removed(next);
  }
}

std::optional<std::string> WatchTree::path(int watch) const {
  std::vector<const std::string*> names;
  for (int at = watch;;) {
    const auto node = nodes_.find(at);
    if (node == nodes_.end()) return std::nullopt;
    at = node->second.parent;
    if (at < 0) break;
    names.push_back(&node->second.name);
  }
  std::string path = root_;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (!path.ends_with('/')) path += '/';
    path += **name;
  }
  return path;
}

std::optional<std::string> WatchTree::path(int watch, std::string_view name) const {
  auto result = path(watch);
  if (!result || name.empty()) return result;
  if (!result->ends_with('/')) *result += '/';
  *result += name;
  return result;
}

}  // namespace sandbox::agent
