#include "agent/environment.hpp"

#include <algorithm>

#include "protocol/messages.hpp"

namespace sandbox::agent {
namespace {

bool is_entry_of(std::string_view entry, std::string_view name) noexcept {
  return entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name);
}

}  // namespace

Environment Environment::from(const char* const* entries) {
  Environment environment;
  for (; entries && *entries; ++entries) {
    const std::string_view entry(*entries);
    const auto equals = entry.find('=');
    if (equals == 0 || equals == entry.npos) continue;
    environment.set(entry.substr(0, equals), entry.substr(equals + 1))
        .ignore("what does not fit in the limits of a request cannot be passed on either");
  }
  return environment;
}

std::string* Environment::entry(std::string_view name) noexcept {
  for (auto& entry : entries_)
    if (is_entry_of(entry, name)) return &entry;
  return nullptr;
}

std::optional<std::string_view> Environment::find(std::string_view name) const noexcept {
  for (const auto& entry : entries_)
    if (is_entry_of(entry, name)) return std::string_view(entry).substr(name.size() + 1);
  return std::nullopt;
}

Result<void> Environment::set(std::string_view name, std::string_view value) {
  if (name.empty() || name.find('=') != name.npos || name.find('\0') != name.npos)
    return Error(ErrorCode::invalid_argument, "name of an environment variable is empty or contains '=' or NUL");
  if (value.find('\0') != value.npos)
    return Error(ErrorCode::invalid_argument, "value of an environment variable contains NUL");
  std::string* old = entry(name);
  const std::size_t added = name.size() + 1 + value.size(), removed = old ? old->size() : 0;
  if ((!old && entries_.size() >= protocol::kMaxArguments) || bytes_ - removed + added > protocol::kMaxRequest)
    return Error(ErrorCode::resource_exhausted, "environment is full");
  if (!old) old = &entries_.emplace_back();
  old->assign(name);
  *old += '=';
  *old += value;
  bytes_ += added - removed;
  return {};
}

void Environment::unset(std::string_view name) {
  std::erase_if(entries_, [&](const std::string& entry) {
    if (!is_entry_of(entry, name)) return false;
    bytes_ -= entry.size();
    return true;
  });
}

std::vector<char*> Environment::pointers() const {
  std::vector<char*> pointers;
  pointers.reserve(entries_.size() + 1);
  for (const auto& entry : entries_) pointers.push_back(const_cast<char*>(entry.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace sandbox::agent
