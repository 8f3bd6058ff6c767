#pragma once

#include <string>

#include "agent/v1/connection.hpp"
#include "agent/v1/paths.hpp"

/// fs.* that answer with JSON alone. All paths obey the path rule (paths.hpp).
namespace sandbox::agent::v1 {

class State;

void fs_list(State& state, const Request& request);
void fs_stat(State& state, const Request& request);
void fs_remove(State& state, const Request& request);
void fs_rename(State& state, const Request& request);
void fs_mkdir(State& state, const Request& request);

/// "<what> <path>: <why>": a failed system call as the original's run-time library words it.
std::string os_error(std::string_view what, std::string_view path, int number);
/// The text for a path that Paths::locate() refused, behind `prefix` when the system said so.
std::string path_error(std::string_view prefix, std::string_view what, std::string_view path, const Error& error);

}  // namespace sandbox::agent::v1
