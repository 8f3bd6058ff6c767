#pragma once

#include <memory>
#include <string>

#include <sandbox/bytes.hpp>
#include <sandbox/c.h>

/// Owned bytes of either origin, with a NUL behind them that does not count.
struct sbx_bytes {
  explicit sbx_bytes(std::string content) : text(std::move(content)) {}
  explicit sbx_bytes(sandbox::Bytes content) : bytes(std::move(content)), is_text(false) { bytes.push_back(std::byte{0}); }
  sbx_view view() const noexcept {
    if (is_text) return {text.c_str(), text.size()};
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size() - 1};
  }
  const std::string text;
  sandbox::Bytes bytes;
  const bool is_text = true;
};

namespace sandbox::c {

using BytesPtr = std::unique_ptr<sbx_bytes>;

template <class Content>
BytesPtr own(Content content) {
  return std::make_unique<sbx_bytes>(std::move(content));
}

}  // namespace sandbox::c
