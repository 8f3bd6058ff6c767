#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "prove/catalogue.hpp"

namespace sandbox::prove {

/// Asks the probe, once per room for all checks of that room together: inside, and outside for comparison.
class Rooms {
 public:
  Rooms(Stage& stage, std::vector<const Check*> checks) : stage_(stage), checks_(std::move(checks)) {}
  ~Rooms();

  /// Answers the check from its attempts.
  void judge(const Check& check, CheckResult& result);

 private:
  struct Asked {
    Answers inside, outside;
    std::string unavailable;  ///< why the room cannot be had here
    std::string broken;       ///< why it could not be made although it should
  };
  const Asked& ask(Room room);
  void ask_sandbox(Asked& asked, const SandboxSpec& spec, const std::vector<std::string>& words);
  Answers ask_machine(const std::vector<std::string>& words, int netns);
  void ask_lan(Asked& asked, const std::vector<std::string>& words);
  void ask_none(Asked& asked, const std::vector<std::string>& words);
  void ask_ipc(Asked& asked, const std::vector<std::string>& words);
  void listen_to_udp(Answers& answers, const std::string& mark);

  Stage& stage_;
  const std::vector<const Check*> checks_;
  std::map<Room, Asked> asked_;
};

}  // namespace sandbox::prove
