#pragma once

#include <string>
#include <vector>

#include "prove/stage.hpp"

namespace sandbox::prove {

/// Where the attempts of a check are made.
enum class Room {
  plain,  ///< a sandbox of the default spec; control in namespaces of its own
  small,  ///< one with low limits
  slow,   ///< one with a quarter of a core
  lan,    ///< one with Network::bridge in the laboratory; control: a machine without rules there
  none,   ///< one with Network::none in the laboratory; same control
  ipc,    ///< the default spec, beside things of the host made for it; control: this process's own place
};

/// One promise. Either `words` are put to the probe in `room`, or `run` does everything itself.
struct Check {
  const char* id;
  const char* tried;
  const char* expected;
  Room room = Room::plain;
  std::vector<std::string> words = {};
  void (*run)(Stage& stage, CheckResult& result) = nullptr;
  const char* limit = "";  ///< the limit that must be enforced for this to mean anything
  bool full_only = false;
};

/// All of them, in the order they run.
const std::vector<Check>& catalogue();

/// The limits of Room::small and Room::slow.
SandboxSpec small_spec(const Stage& stage);
SandboxSpec slow_spec(const Stage& stage);

// ---- for checks that run on the host's side ---------------------------------------------------------------------------

void pass(CheckResult& result, std::string seen);
void fail(CheckResult& result, std::string seen);
void skip(CheckResult& result, std::string why);
/// `result` fails with the error unless there is a value.
template <class T>
bool is_fine(CheckResult& result, const Result<T>& value, const char* what) {
  if (value) return true;
  fail(result, std::string(what) + ": " + value.error().to_string());
  return false;
}

void check_host_ids(Stage& stage, CheckResult& result);
void check_workdirs(Stage& stage, CheckResult& result);
void check_fifos(Stage& stage, CheckResult& result);
void check_error_texts(Stage& stage, CheckResult& result);
void check_overlay_forging(Stage& stage, CheckResult& result);
void check_tar_slip(Stage& stage, CheckResult& result);
void check_bombs(Stage& stage, CheckResult& result);
void check_races(Stage& stage, CheckResult& result);
void check_output_flood(Stage& stage, CheckResult& result);
void check_stopped(Stage& stage, CheckResult& result);
void check_orphans(Stage& stage, CheckResult& result);
void check_under_fire(Stage& stage, CheckResult& result);
void check_terminal(Stage& stage, CheckResult& result);
void check_hygiene(Stage& stage, CheckResult& result);
void check_users(Stage& stage, CheckResult& result);
void check_garbage(Stage& stage, CheckResult& result);
void check_forged_facts(Stage& stage, CheckResult& result);

}  // namespace sandbox::prove
