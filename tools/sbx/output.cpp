#include "output.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace sbx {

bool has_colour(int fd) {
  const char* none = std::getenv("NO_COLOR");
  if (none != nullptr && *none != 0) return false;
  const char* term = std::getenv("TERM");
  return ::isatty(fd) != 0 && term != nullptr && *term != 0 && std::string_view(term) != "dumb";
}

std::size_t columns_of(int fd) {
  winsize window{};
  if (::ioctl(fd, TIOCGWINSZ, &window) == 0 && window.ws_col >= 40) return window.ws_col;
  return 100;
}

std::string printable(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      result += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(byte));
      result += escape;
    }
  }
  return result;
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (auto& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::str(bool colour) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    auto width = display_width(columns_[i].heading);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i]));
    widths.push_back(width);
  }
  std::string result;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string pad(widths[i] - display_width(cell), ' ');
      if (i != 0) text += "  ";
      text += columns_[i].align == Align::right ? pad + cell : cell + pad;
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  };
  const auto heading = line([&](std::size_t i) -> const std::string& { return columns_[i].heading; });
  result += colour ? "\033[1m" + heading + "\033[0m\n" : heading + "\n";
  for (const auto& row : rows_) result += line([&](std::size_t i) -> const std::string& { return row[i]; }) + "\n";
  return result;
}

namespace {

std::string format(const std::tm& parts, const char* pattern) {
  char text[40];
  return std::string(text, std::strftime(text, sizeof text, pattern, &parts));
}

}  // namespace

std::string local_time(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  return format(parts, "%Y-%m-%d %H:%M:%S");
}

std::string utc_time(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return format(parts, "%Y-%m-%dT%H:%M:%SZ");
}

std::string pretty_json(std::string_view compact) {
  std::string result;
  std::size_t depth = 0;
  bool in_string = false, escaped = false;
  const auto line_break = [&] { result += '\n' + std::string(depth * 2, ' '); };
  for (std::size_t i = 0; i < compact.size(); ++i) {
    const char c = compact[i];
    if (in_string) {
      result += c;
      if (!escaped && c == '"') in_string = false;
      escaped = !escaped && c == '\\';
      continue;
    }
    switch (c) {
      case ' ': case '\n': case '\r': case '\t': break;
      case '"':
        in_string = true;
        result += c;
        break;
      case '{': case '[': {
        result += c;
        const auto next = compact.find_first_not_of(" \n\r\t", i + 1);
        if (next != std::string_view::npos && (compact[next] == '}' || compact[next] == ']')) {
          result += compact[next];
          i = next;
        } else {
          ++depth;
          line_break();
        }
        break;
      }
      case '}': case ']':
        if (depth != 0) --depth;
        line_break();
        result += c;
        break;
      case ',':
        result += c;
        line_break();
        break;
      case ':': result += ": "; break;
      default: result += c;
    }
  }
  return result;
}

bool print(std::string_view text) {
  while (!text.empty()) {
    const auto put = ::write(STDOUT_FILENO, text.data(), text.size());
    if (put > 0) {
      text.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd polled{STDOUT_FILENO, POLLOUT, 0};
      ::poll(&polled, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void print_json(const Json& json) { print(json.str() + "\n"); }

int fail(const Common& common, const sandbox::Error& error, std::string_view hint) {
  if (common.json) print_json(Json::object().add("error", to_json(error)));
  std::fprintf(stderr, "sbx %s: %s\n", common.command.c_str(), error.to_string().c_str());
  if (!hint.empty()) std::fprintf(stderr, "sbx %s: %.*s\n", common.command.c_str(), static_cast<int>(hint.size()), hint.data());
  return kFailure;
}

}  // namespace sbx
