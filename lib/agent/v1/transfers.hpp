#pragma once

#include "agent/v1/connection.hpp"

/// fs.* that move content in binary messages. All paths obey the path rule (paths.hpp).
namespace sandbox::agent::v1 {

class State;

/// Sends a regular file in pieces of kChunk; an empty one is one empty message.
void fs_read(State& state, const Request& request);
/// A new file appears under its name when its content is complete. Missing parents are made.
void fs_write(State& state, const Request& request);
/// Extracts a tar stream below a directory: files and directories only.
void fs_upload(State& state, const Request& request);
/// Packs a file or a tree as a tar stream; symlinks are packed, not followed.
void fs_download(State& state, const Request& request);

}  // namespace sandbox::agent::v1
