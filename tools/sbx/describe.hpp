#pragma once

#include <sandbox/fs.hpp>
#include <sandbox/sandbox.hpp>
#include <sandbox/service.hpp>

#include "text.hpp"

/// The JSON that --json shows of what a daemon tells: the keys of its REST interface.
namespace sbx {

const char* name(sandbox::SandboxState state) noexcept;
const char* name(sandbox::FileType type) noexcept;

Json to_json(const sandbox::SandboxInfo& info);
Json to_json(const sandbox::SandboxStats& stats, double cpu_percent);
Json to_json(const sandbox::TemplateInfo& info);
Json to_json(const sandbox::ServiceTemplate& info);
Json to_json(const sandbox::PoolInfo& info);
Json to_json(const sandbox::ServiceEvent& event);
Json to_json(const sandbox::Health& health);
Json to_json(const sandbox::FileInfo& info);
Json to_json(const sandbox::TransferSummary& summary);

}  // namespace sbx
