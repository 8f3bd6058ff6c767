// What a user of a daemon on this machine waits for.
#include <cstdio>
#include <stdexcept>
#include <thread>

#include <sandbox/client.hpp>

#include "../floor.hpp"
#include "../payload.hpp"
#include "../scenario.hpp"
#include "daemon_process.hpp"

namespace bench {

std::vector<Result> daemon_warm_create(Config& config) {
  Daemon daemon({.warm = 8});
  auto client = sandbox::Client::connect(daemon.url()).value();
  auto connection = daemon.connect();
  Samples ours, bare, health;
  for (int round = -10; round < config.rounds(500); ++round) {
    daemon.wait_warm();
    pause_between_creations();
    const auto begin = Clock::now();
    auto box = client.create().value();
    const auto took = Clock::now() - begin;
    box.ping().value();
    box.close().value();
    daemon.wait_warm();
    pause_between_creations();
    const auto asked = timed([&] { connection.request("GET", "/health").value(); });
    const auto posted = Clock::now();
    const auto made = connection.request("POST", "/sandboxes", R"({"ttl":60})").value();
    const auto answered = Clock::now() - posted;
    if (made.status != 201) throw std::runtime_error("create answered " + std::to_string(made.status) + " " + made.body);
    connection.request("DELETE", "/sandboxes/" + json_value(made.body, "id")).value();
    if (round < 0) continue;
    ours.add(took, kMillisecond);
    bare.add(answered, kMillisecond);
    health.add(asked, kMillisecond);
  }
  const auto pools = connection.request("GET", "/pools").value();
  client.close().value();
  auto result = summarise("daemon_warm_create", "ms", ours, health);
  result.bar = "p50 <= 0.3, p99 <= 2";
  result.pass = result.p50 <= 0.3 && result.p99 <= 2;
  char text[200];
  std::snprintf(text, sizeof text, "; a bare POST /sandboxes on a kept connection p50 %.3f p99 %.3f ms; pool misses %s", bare.p50(),
                bare.p99(), json_value(pools.body, "misses").c_str());
  result.method = "Client::create over the unix socket from a pool of 8, full before each round, 8 ms apart; floor: GET /health on a "
                  "kept connection" + std::string(text);
  return {result};
}

std::vector<Result> daemon_exec_true(Config& config) {
  Daemon daemon({});
  auto client = sandbox::Client::connect(daemon.url()).value();
  auto box = client.create().value();
  Samples ours, floor;
  for (int round = -20; round < config.rounds(600); ++round) {
    const auto theirs = timed([&] {
      if (run_with_pipes({"/usr/bin/true"}).value() != 0) throw std::runtime_error("true failed on the host");
    });
    const auto begin = Clock::now();
    const auto result = box.process().exec(sandbox::Command::from_argv({"/usr/bin/true"})).value();
    const auto took = Clock::now() - begin;
    if (!result.ok()) throw std::runtime_error("true ended with " + std::to_string(result.shell_code()));
    if (round < 0) continue;
    ours.add(took, kMillisecond);
    floor.add(theirs, kMillisecond);
  }
  Samples pings;
  for (int i = 0; i < 300; ++i) pings.add(box.ping().value(), kMillisecond);
  box.close().value();
  client.close().value();
  auto result = summarise("daemon_exec_true", "ms", ours, floor);
  result.bar = "<= 2 x floor";
  result.pass = result.ratio <= 2;
  char text[64];
  std::snprintf(text, sizeof text, "%.3f", pings.p50());
  result.method = "Process::exec of /usr/bin/true through the daemon, in turns with the floor: vfork+execve+wait4 of the same binary on "
                  "the host, output and error on pipes read to their end; a ping through the daemon p50 " + std::string(text) + " ms";
  return {result};
}

std::vector<Result> daemon_file_transfer(Config& config) {
  const std::uint64_t total = config.quick ? 256 * kMiB : 1024 * kMiB;
  Daemon daemon({});
  auto client = sandbox::Client::connect(daemon.url()).value();
  auto plain = client.create(roomy_spec()).value();
  auto sealed = client.create(roomy_spec().sealed()).value();
  const auto bytes = pattern();
  Samples in[2], out[2], in_floor, out_floor;
  for (int round = -1; round < (config.quick ? 3 : 8); ++round) {
    const auto [floor_in, floor_out] = memory_file(bytes, total);
    if (round >= 0) {
      in_floor.add(floor_in);
      out_floor.add(floor_out);
    }
    for (const bool seal : {false, true}) {
      auto& box = seal ? sealed : plain;
      const auto up = timed([&] {
        if (box.fs().write_from("/root/big", repeat(bytes, total)).value() != total) throw std::runtime_error("wrote another size");
      });
      std::uint64_t seen = 0;
      bool same = true;
      const auto down = timed([&] {
        box.fs().read_to("/root/big", [&](sandbox::ByteView piece) -> sandbox::Result<void> {
          same &= piece.empty() || piece[0] == bytes[seen % kMiB];
          seen += piece.size();
          return {};
        }).value();
      });
      if (seen != total || !same) throw std::runtime_error("read something else than was written");
      // Not while the next one is written: its pages would not fit beside these.
      box.fs().remove_all("/root/big").value();
      if (round < 0) continue;
      in[seal].add(mib_per_s(total, up));
      out[seal].add(mib_per_s(total, down));
    }
  }
  plain.close().value();
  sealed.close().value();
  client.close().value();
  std::vector<Result> results;
  for (const bool seal : {false, true}) {
    for (const bool upload : {true, false}) {
      const auto& ours = upload ? in[seal] : out[seal];
      const auto& floor = seal ? (upload ? in[0] : out[0]) : (upload ? in_floor : out_floor);
      const std::string name = std::string(seal ? "daemon_sealed_file_" : "daemon_file_") + (upload ? "in" : "out");
      auto result = summarise(name, "MiB/s", ours, floor, true);
      result.bar = seal ? ">= 0.6 x plain" : ">= 600";
      result.pass = seal ? result.ratio >= 0.6 : result.p50 >= 600;
      result.method = std::string(upload ? "Fs::write_from" : "Fs::read_to") + " of " + std::to_string(total / kMiB) +
                      " MiB through the daemon, " +
                      (seal ? "sealed end to end; floor: the same not sealed, in turns"
                            : upload ? "floor: write(2) to a memory file in 1 MiB pieces" : "floor: read(2) of the memory file");
      results.push_back(std::move(result));
    }
  }
  return results;
}

}  // namespace bench
