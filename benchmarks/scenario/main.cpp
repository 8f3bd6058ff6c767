#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "scenario.hpp"

namespace {

struct Entry {
  std::vector<std::string> names;
  bench::Measure measure;
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {{"warm_create"}, bench::warm_create},
      {{"cold_create_exec"}, bench::cold_create_exec},
      {{"exec_true"}, bench::exec_true},
      {{"destroy", "destroy_clean"}, bench::destroy},
      {{"destroy_clean_loaded"}, bench::destroy_clean_loaded},
      {{"fs_read_4k"}, bench::fs_read_4k},
      {{"file_in", "file_out", "ping_under_load"}, bench::file_transfer},
      {{"sealed_file_in", "sealed_file_out"}, bench::sealed_transfer},
      {{"template_create"}, bench::template_create},
      {{"idle_memory", "idle_memory_total"}, bench::idle_memory},
      {{"adopt_500"}, bench::adopt_500},
      {{"creates_per_s"}, bench::creates_per_s},
      {{"creates_per_s_no_net"}, bench::creates_per_s_no_net},
#ifdef SANDBOX_BENCH_BINDINGS
      {{"binding_python_sync", "binding_python_sync_file_in", "binding_python_sync_file_out"}, bench::binding_python_sync},
      {{"binding_asyncio", "binding_asyncio_file_in", "binding_asyncio_file_out"}, bench::binding_asyncio},
      {{"binding_node", "binding_node_file_in", "binding_node_file_out"}, bench::binding_node},
      {{"binding_go", "binding_go_file_in", "binding_go_file_out"}, bench::binding_go},
#endif
#ifdef SANDBOX_BENCH_DAEMON
      {{"daemon_warm_create"}, bench::daemon_warm_create},
      {{"daemon_exec_true"}, bench::daemon_exec_true},
      {{"daemon_file_in", "daemon_file_out", "daemon_sealed_file_in", "daemon_sealed_file_out"}, bench::daemon_file_transfer},
      {{"daemon_sessions_1000"}, bench::daemon_sessions_1000},
      {{"daemon_idle_ws"}, bench::daemon_idle_ws},
      {{"daemon_create_flood"}, bench::daemon_create_flood},
      {{"daemon_restart_500"}, bench::daemon_restart_500},
#endif
  };
  return list;
}

int usage(int code) {
  std::fprintf(code == 0 ? stdout : stderr,
               "usage: sandbox-bench [--quick] [--json FILE] [SCENARIO…]\n       sandbox-bench --list\n"
               "Measures each scenario beside its floor; exits with 1 when one could not be measured (a missed bar is no failure).\n");
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Config config;
  std::string json;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--quick") config.quick = true;
    else if (word == "--json" && i + 1 < argc) json = argv[++i];
    else if (word == "-h" || word == "--help") return usage(0);
    else if (word == "--list") {
      for (const auto& entry : entries()) {
        for (const auto& name : entry.names) std::printf("%s\n", name.c_str());
      }
      return 0;
    } else if (word.starts_with("-")) return usage(2);
    else wanted.push_back(word);
  }
  const auto is_wanted = [&](const Entry& entry) {
    if (wanted.empty()) return true;
    for (const auto& name : entry.names) {
      for (const auto& word : wanted) {
        if (name == word) return true;
      }
    }
    return false;
  };
  for (const auto& word : wanted) {
    bool known = false;
    for (const auto& entry : entries()) {
      for (const auto& name : entry.names) known |= name == word;
    }
    if (!known) {
      std::fprintf(stderr, "sandbox-bench: no scenario %s; see --list\n", word.c_str());
      return 2;
    }
  }
  // Only one scenario compares with others, and finding out whether they work costs a run of each.
  for (const auto& entry : entries()) {
    if (is_wanted(entry) && entry.measure == bench::cold_create_exec) config.peers = bench::installed_peers();
  }
  std::vector<bench::Result> results;
  bool failed = false;
  for (const auto& entry : entries()) {
    if (!is_wanted(entry)) continue;
    std::string title;
    for (const auto& name : entry.names) title += (title.empty() ? "" : ", ") + name;
    std::fprintf(stderr, "measuring %s\n", title.c_str());
    try {
      const auto some = entry.measure(config);
      results.insert(results.end(), some.begin(), some.end());
    } catch (const bench::Skip& lacking) {
      for (const auto& name : entry.names) {
        bench::Result result;
        result.scenario = name;
        result.skipped = lacking.what();
        results.push_back(result);
      }
    } catch (const std::exception& error) {
      failed = true;
      for (const auto& name : entry.names) {
        bench::Result result;
        result.scenario = name;
        result.error = error.what();
        results.push_back(result);
      }
    }
  }
  if (!json.empty()) {
    std::ofstream file(json, std::ios::trunc);
    file << bench::to_json(results);
    file.close();
    if (!file) {
      std::fprintf(stderr, "sandbox-bench: cannot write %s\n", json.c_str());
      failed = true;
    }
  }
  bench::print(results);
  return failed ? 1 : 0;
}
