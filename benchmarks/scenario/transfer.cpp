// Files in and out, sealed and not, pings meanwhile, small reads.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include <sandbox/runtime.hpp>

#include "payload.hpp"
#include "scenario.hpp"

namespace bench {

std::vector<Result> file_transfer(Config& config) {
  const std::uint64_t total = config.quick ? 256 * kMiB : 1024 * kMiB;
  auto runtime = sandbox::Runtime::open().value();
  auto box = runtime.create(roomy_spec()).value();
  const auto bytes = pattern();
  Samples in, out, in_floor, out_floor, pings_in, pings_out, pings_idle;

  for (int i = 0; i < 500; ++i) {
    pings_idle.add(box.ping().value(), kMillisecond);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  const int rounds = config.quick ? 3 : 8;
  for (int round = -1; round < rounds; ++round) {
    const auto [floor_in, floor_out] = memory_file(bytes, total);
    box.fs().remove_all("/root/big").value();
    const auto up = timed([&] {
      if (box.fs().write_from("/root/big", repeat(bytes, total)).value() != total) throw std::runtime_error("wrote another size");
    });
    std::uint64_t seen = 0;
    bool same = true;
    const auto down = timed([&] {
      const auto size = box.fs().read_to("/root/big", [&](sandbox::ByteView piece) -> sandbox::Result<void> {
        // One byte of each piece is compared: enough to know that it is our file, too little to be measured.
        same &= piece.empty() || piece[0] == bytes[seen % kMiB];
        seen += piece.size();
        return {};
      }).value();
      if (size != total || seen != total || !same) throw std::runtime_error("read something else than was written");
    });
    if (round < 0) continue;
    in.add(mib_per_s(total, up));
    out.add(mib_per_s(total, down));
    in_floor.add(floor_in);
    out_floor.add(floor_out);
  }
  // Pings while a transfer runs: apart from the rounds above, which have the machine to themselves.
  const auto ping_while = [&](Samples& samples, auto&& transfer) {
    std::atomic<bool> done{false};
    std::exception_ptr failure;
    std::jthread mover([&] {
      try {
        transfer();
      } catch (...) {
        failure = std::current_exception();
      }
      done = true;
    });
    while (!done) {
      samples.add(box.ping().value(), kMillisecond);
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    mover.join();
    if (failure) std::rethrow_exception(failure);
  };
  const std::uint64_t gib = 1024 * kMiB;
  for (int round = 0; round < (config.quick ? 1 : 3); ++round) {
    box.fs().remove_all("/root/big").value();
    ping_while(pings_in, [&] { box.fs().write_from("/root/big", repeat(bytes, gib)).value(); });
    ping_while(pings_out, [&] {
      box.fs().read_to("/root/big", [](sandbox::ByteView) -> sandbox::Result<void> { return {}; }).value();
    });
  }
  box.close().value();
  runtime.close().value();

  const std::string size = std::to_string(total / kMiB) + " MiB";
  auto first = summarise("file_in", "MiB/s", in, in_floor, true);
  first.bar = ">= 1024";
  first.pass = first.p50 >= 1024;
  first.method = "Fs::write_from of " + size + " to /root (2 GiB quota); floor: write(2) of as much to a memory file in 1 MiB pieces";
  auto second = summarise("file_out", "MiB/s", out, out_floor, true);
  second.bar = ">= 1024";
  second.pass = second.p50 >= 1024;
  second.method = "Fs::read_to of the same file; floor: read(2) of the memory file";
  auto third = summarise("ping_under_load", "ms", pings_in.p99() > pings_out.p99() ? pings_in : pings_out, pings_idle);
  third.bar = "p99 <= 2";
  third.pass = third.p99 <= 2;
  char text[160];
  std::snprintf(text, sizeof text, "while writing p99 %.3f ms (n=%zu), while reading p99 %.3f ms (n=%zu); idle p99 %.3f ms", pings_in.p99(),
                pings_in.size(), pings_out.p99(), pings_out.size(), pings_idle.p99());
  third.method = "pings 0.5 ms apart during 1 GiB each way, the worse direction shown: " + std::string(text) + "; floor: idle ping";
  return {first, second, third};
}

std::vector<Result> sealed_transfer(Config& config) {
  const std::uint64_t total = config.quick ? 256 * kMiB : 1024 * kMiB;
  auto runtime = sandbox::Runtime::open().value();
  auto plain = runtime.create(roomy_spec()).value();
  auto sealed = runtime.create(roomy_spec().sealed()).value();
  const auto bytes = pattern();
  Samples in[2], out[2];
  for (int round = -1; round < (config.quick ? 3 : 8); ++round) {
    for (const bool seal : {false, true}) {
      auto& box = seal ? sealed : plain;
      const auto up = timed([&] {
        if (box.fs().write_from("/root/big", repeat(bytes, total)).value() != total) throw std::runtime_error("wrote another size");
      });
      std::uint64_t seen = 0;
      const auto down = timed([&] {
        box.fs().read_to("/root/big", [&](sandbox::ByteView piece) -> sandbox::Result<void> {
          seen += piece.size();
          return {};
        }).value();
      });
      if (seen != total) throw std::runtime_error("read another size");
      // Not while the next one is written: its pages would not fit beside these.
      box.fs().remove_all("/root/big").value();
      if (round < 0) continue;
      in[seal].add(mib_per_s(total, up));
      out[seal].add(mib_per_s(total, down));
    }
  }
  plain.close().value();
  sealed.close().value();
  runtime.close().value();
  std::vector<Result> results;
  for (const bool upload : {true, false}) {
    auto& with = upload ? in[1] : out[1];
    auto& without = upload ? in[0] : out[0];
    auto result = summarise(upload ? "sealed_file_in" : "sealed_file_out", "MiB/s", with, without, true);
    result.bar = ">= 0.6 x plain";
    result.pass = result.ratio >= 0.6;
    result.method = std::string(upload ? "Fs::write_from" : "Fs::read_to") + " of " + std::to_string(total / kMiB) +
                    " MiB in a sandbox with SandboxSpec::sealed(); floor: the same in one without, in turns";
    results.push_back(std::move(result));
  }
  return results;
}

std::vector<Result> fs_read_4k(Config& config) {
  auto runtime = sandbox::Runtime::open().value();
  auto box = runtime.create(base_spec()).value();
  const std::string content(4096, 'x');
  box.fs().write("/root/small", content).value();
  // The same on a tmpfs of the host, the way the agent opens it.
  const int shm = ::open("/dev/shm", O_PATH | O_DIRECTORY | O_CLOEXEC);
  const std::string name = "sandbox-bench-" + std::to_string(::getpid());
  const int file = ::openat(shm, name.c_str(), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0 || ::write(file, content.data(), content.size()) != 4096) throw std::runtime_error("/dev/shm is not writable");
  ::close(file);
  Samples ours, floor, pings;
  for (int round = -100; round < config.rounds(4000); ++round) {
    char buffer[4096];
    const auto ping = box.ping().value();
    const auto bare = timed([&] {
      open_how how{};
      how.flags = O_RDONLY | O_CLOEXEC;
      how.resolve = RESOLVE_IN_ROOT;
      const int fd = static_cast<int>(::syscall(SYS_openat2, shm, name.c_str(), &how, sizeof how));
      if (::read(fd, buffer, sizeof buffer) != 4096) throw std::runtime_error("short read");
      ::close(fd);
    });
    const auto begin = Clock::now();
    const auto read = box.fs().read("/root/small");
    const auto took = Clock::now() - begin;
    if (!read || read->size() != 4096) throw std::runtime_error("read failed");
    if (round < 0) continue;
    ours.add(took, kMicrosecond);
    floor.add(bare, kMicrosecond);
    pings.add(ping, kMicrosecond);
  }
  ::unlinkat(shm, name.c_str(), 0);
  ::close(shm);
  box.close().value();
  runtime.close().value();
  auto result = summarise("fs_read_4k", "µs", ours, floor);
  result.bar = "p50 <= 60";
  result.pass = result.p50 <= 60;
  char text[64];
  std::snprintf(text, sizeof text, "p50 %.1f, fastest 1 %% %.1f", pings.p50(), pings.percentile(0.01));
  result.method = "Fs::read of 4 KiB, in turns with the floor: openat2 + read + close on the host's tmpfs, and with a ping of the agent, "
                  "which is what waking each other costs here now: " + std::string(text) + " µs; fastest 1 % of the reads ";
  std::snprintf(text, sizeof text, "%.1f", ours.percentile(0.01));
  result.method += text;
  return {result};
}

}  // namespace bench
