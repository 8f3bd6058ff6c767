#include "backends/native/bridge_resolvers.hpp"

#include <arpa/inet.h>

namespace sandbox::native {

namespace {
constexpr const char* kPublic[] = {"1.1.1.1", "9.9.9.9"};  ///< two operators, so that one outage is not ours
constexpr std::size_t kMost = 3;
}  // namespace

Result<std::string> bridge_resolv_conf(const std::vector<std::string>& addresses) {
  const auto refuse = [](std::string text) { return Error(ErrorCode::invalid_argument, std::move(text)).with_operation("native.resolvers"); };
  if (addresses.size() > kMost) return refuse("more than three resolvers");
  std::string text;
  for (const std::string& address : addresses) {
    in_addr parsed{};
    if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) return refuse("not an IPv4 address: " + address);
    text += "nameserver " + address + "\n";
  }
  if (addresses.empty()) {
    for (const char* address : kPublic) text += std::string("nameserver ") + address + "\n";
  }
  return text + "options timeout:2 attempts:2\n";
}

}  // namespace sandbox::native
