#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// One kill at one point of one story, and what must hold afterwards.
namespace sandbox::testing {

/// Who is killed. `main` is the process that the user of the library owns: the embedder, or the daemon.
enum class Victim { main, launcher, agent };
std::string name(Victim victim);

struct KillCase {
  std::string mode;                       ///< of story.cpp, or "daemon"
  std::string program;                    ///< path of the one that has the point
  std::string point;
  std::vector<std::uint64_t> addresses;   ///< of the point, as linked
  Victim victim;
};

struct KillOutcome {
  std::string what;                       ///< "killed", "not reached", "nobody there" (the victim does not exist at that point)
  std::string problems;                   ///< a line each; empty: all promises held
};

KillOutcome run(const KillCase& what);

/// The program of story.cpp, beside this test.
std::string story_program();
/// A program of the build.
std::string helper(const std::string& name);

}  // namespace sandbox::testing
