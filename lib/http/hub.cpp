#include "http/hub.hpp"

#include <ctime>

namespace sandbox::http {
namespace {
/// Large enough that a relay spends its time copying, small enough to stay in the second-level cache.
constexpr std::size_t kScratch = 256 << 10;
}  // namespace

std::span<std::byte> Hub::scratch() {
  if (!scratch_) scratch_ = std::make_unique<std::byte[]>(kScratch);
  return {scratch_.get(), kScratch};
}

const std::string& Hub::date() {
  const std::time_t now = std::time(nullptr);
  if (now != date_of_) {
    date_of_ = now;
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[64];
    // The C locale's names are wanted; strftime would take the embedder's.
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[parts.tm_wday], parts.tm_mday,
                  kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
    date_ = text;
  }
  return date_;
}

}  // namespace sandbox::http
