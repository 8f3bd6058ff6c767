#pragma once

#include <string>
#include <vector>

#include <sandbox/runtime.hpp>
#include <sandbox/template.hpp>

/// JSON of what only a runtime tells, in the words of docs/PROTOCOL.md "Values as JSON"; the rest is lib/rest's.
namespace sandbox::c {

std::string write_json(const std::vector<PoolStats>& pools);
std::string write_json(const TemplateInfo& saved);
std::string write_json(const std::vector<TemplateInfo>& list);
std::string write_json(const std::vector<PrunedLayer>& layers);
std::string write_json(const HostReport& report);
std::string write_json(const RuntimeEvent& event);

}  // namespace sandbox::c
