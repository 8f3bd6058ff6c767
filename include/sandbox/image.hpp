#pragma once

#include <string>
#include <utility>

namespace sandbox {

/// Where a sandbox's root file system comes from. The image itself is never written to.
class Image {
 public:
  enum class Kind { host, directory, tar, template_id };

  /// This host's own read-only userland (/usr and what it needs of /etc): instant, nothing to download. Never the
  /// host's /root, /home, secrets in /etc, or sockets.
  static Image host() { return Image(Kind::host, {}); }
  /// A directory that is a root file system (debootstrap, an unpacked image).
  static Image directory(std::string path) { return Image(Kind::directory, std::move(path)); }
  /// A root file system as a tar archive: plain, gzip or zstd. Unpacked once into the layer store, by digest.
  static Image tar(std::string path) { return Image(Kind::tar, std::move(path)); }
  /// A saved template, "tpl-…", with the image it was made from underneath.
  static Image from_template(std::string id) { return Image(Kind::template_id, std::move(id)); }
  /// What `sbx --image` takes: "host", "tpl-…", or a path to a directory or a tar archive.
  static Image parse(const std::string& text);

  Kind kind() const noexcept { return kind_; }
  /// Path or template id; empty for host.
  const std::string& reference() const noexcept { return reference_; }
  /// The form parse() takes.
  std::string to_string() const { return kind_ == Kind::host ? "host" : reference_; }
  bool operator==(const Image&) const = default;

 private:
  Image(Kind kind, std::string reference) : kind_(kind), reference_(std::move(reference)) {}
  Kind kind_;
  std::string reference_;
};

}  // namespace sandbox
