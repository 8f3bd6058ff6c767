#include "simulation/ledger.hpp"

namespace sandbox::simulation {
namespace {

struct Named {
  const char* name;
  std::uint64_t Counters::* value;
};
constexpr Named kCounters[] = {
    {"schedules", &Counters::schedules},       {"steps", &Counters::steps},       {"streams", &Counters::streams},
    {"ends", &Counters::ends},                 {"losses", &Counters::losses},     {"bytes", &Counters::bytes},
    {"messages", &Counters::messages},         {"transports", &Counters::transports}, {"resumes", &Counters::resumes},
    {"renewals", &Counters::renewals},         {"replaced", &Counters::replaced}, {"cuts", &Counters::cuts},
    {"holes", &Counters::holes},               {"silences", &Counters::silences}, {"agent_crashes", &Counters::agent_crashes},
    {"client_crashes", &Counters::client_crashes}, {"forgotten", &Counters::forgotten}, {"cancels", &Counters::cancels},
    {"detaches", &Counters::detaches},         {"replays", &Counters::replays},   {"sealed", &Counters::sealed},
    {"compressed", &Counters::compressed},     {"applied", &Counters::applied},
};

}  // namespace

void Counters::add(const Counters& other) noexcept {
  for (const Named& one : kCounters) this->*one.value += other.*one.value;
}

std::string Counters::to_string() const {
  std::string text;
  for (const Named& one : kCounters) text += (text.empty() ? "" : " ") + std::string(one.name) + "=" + std::to_string(this->*one.value);
  return text;
}

}  // namespace sandbox::simulation
