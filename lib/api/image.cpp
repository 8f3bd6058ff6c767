#include <sandbox/image.hpp>

#include <filesystem>
#include <string_view>

namespace sandbox {

Image Image::parse(const std::string& text) {
  if (text.empty() || text == "host") return host();
  // An id is exact, so that a directory called "tpl-mine" still works by its path: 16 digits from a runtime, 8 from a daemon.
  const std::string_view id(text);
  if (id.starts_with("tpl-") && (id.size() == 20 || id.size() == 12) &&
      id.find_first_not_of("0123456789abcdef", 4) == std::string_view::npos)
    return from_template(text);
  // Made absolute here, where the caller's working directory is still the one they meant.
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(text, error);
  if (error) path = text;
  std::string absolute = path.lexically_normal().string();
  if (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  if (std::filesystem::is_directory(absolute, error)) return directory(std::move(absolute));
  return tar(std::move(absolute));
}

}  // namespace sandbox
