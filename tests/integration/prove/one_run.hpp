#pragma once

#include <gtest/gtest.h>

#include <sandbox/prove.hpp>

namespace sandbox::testing {

/// The quick set for real, once for all tests of this program.
inline const ProveReport& quick_report() {
  static const ProveReport report = prove_isolation().value();
  return report;
}

inline const CheckResult& find(const ProveReport& report, std::string_view id) {
  for (const CheckResult& check : report.checks)
    if (check.id == id) return check;
  throw std::runtime_error("no check " + std::string(id));
}

}  // namespace sandbox::testing
