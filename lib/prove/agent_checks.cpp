// An agent in the hands of an attacker, speaking to the library: from lies in its first word to bytes without end.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "backend/backend.hpp"
#include "backends/native/verify.hpp"
#include "protocol/build_id.hpp"
#include "protocol/frame.hpp"
#include "prove/catalogue.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox::prove {

using namespace std::chrono_literals;
using protocol::FrameType;

namespace {

std::string frame(FrameType type, std::uint32_t stream, std::uint64_t offset, std::string_view payload, std::uint8_t channel = 0,
                  std::uint8_t flags = 0, std::uint32_t announced = 0) {
  protocol::FrameHeader header;
  header.length = announced ? announced : static_cast<std::uint32_t>(payload.size());
  header.type = type;
  header.flags = flags;
  header.channel = channel;
  header.stream = stream;
  header.offset = offset;
  std::string bytes(protocol::kFrameHeader, '\0');
  protocol::encode(header, reinterpret_cast<std::byte*>(bytes.data()));
  return bytes.append(payload);
}

protocol::Hello hello() {
  protocol::Hello made;
  made.software = "sandbox-agent/" + std::string(protocol::build_id());
  made.session_id = std::string(16, 'x');
  made.window = 1 << 20;
  made.max_frame = 1 << 20;
  made.facts.emplace();
  return made;
}
std::string greeting(const protocol::Hello& made = hello()) { return frame(FrameType::hello, 0, 0, protocol::encode(made)); }

/// What the agent says: once, or over and over.
struct Script {
  const char* name;
  std::string first;
  std::string again;
  bool hang_up = false;  ///< closes after `first`
};

/// Says a script on its end of a socketpair and reads whatever comes.
class LyingInstance final : public backend::Instance {
 public:
  explicit LyingInstance(const Script& script) : script_(script), end_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return;
    stream_.reset(ends[0]);
    peer_.reset(ends[1]);
    thread_ = std::thread([this] { talk(); });
  }
  ~LyingInstance() override { destroy().ignore("nothing can fail"); }
  core::UniqueFd take_stream() override { return std::move(stream_); }
  int exit_fd() const noexcept override { return end_.get(); }
  Result<void> verify(const protocol::Facts&) const override { return {}; }  // believed, to get to what comes after
  Result<void> destroy() override {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return {};
  }
  Result<SandboxStats> stats() override { return SandboxStats{}; }
  Result<void> pause() override { return {}; }
  Result<void> resume() override { return {}; }
  Result<core::UniqueFd> connect(std::uint16_t, core::TimePoint) override { return Error(ErrorCode::unavailable, "nobody"); }
  Result<bool> listening(std::uint16_t) override { return false; }
  Result<Writable> writable() override { return Error(ErrorCode::unsupported, "nothing"); }
  std::uint64_t oom_kills() override { return 0; }
  const std::vector<std::string>& unenforced() const noexcept override { return none_; }

 private:
  void talk() {
    std::string out = script_.first;
    while (!stop_) {
      if (out.empty() && !script_.again.empty()) out = script_.again;
      if (out.empty() && script_.hang_up) break;
      pollfd ready{peer_.get(), static_cast<short>(POLLIN | (out.empty() ? 0 : POLLOUT)), 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      if (ready.revents & POLLIN) {
        char heard[4096];
        if (::recv(peer_.get(), heard, sizeof heard, 0) == 0) break;
      }
      if (ready.revents & (POLLERR | POLLHUP)) break;
      if (ready.revents & POLLOUT) {
        const ssize_t size = ::send(peer_.get(), out.data(), out.size(), MSG_NOSIGNAL);
        if (size > 0) out.erase(0, static_cast<std::size_t>(size));
      }
    }
    peer_.reset();
  }

  const Script script_;
  const core::UniqueFd end_;
  core::UniqueFd stream_, peer_;
  std::atomic<bool> stop_{false};
  std::vector<std::string> none_;
  std::thread thread_;
};

class LyingRecipe final : public backend::Recipe {
 public:
  explicit LyingRecipe(const Script& script) : script_(script) {}
  Result<std::unique_ptr<backend::Instance>> create(core::TimePoint) override {
    return std::unique_ptr<backend::Instance>(std::make_unique<LyingInstance>(script_));
  }

 private:
  const Script& script_;
};

class LyingBackend final : public backend::Backend {
 public:
  explicit LyingBackend(const Script& script) : script_(script) {}
  std::string_view name() const noexcept override { return "native"; }
  Result<HostReport> probe(core::TimePoint) override { return HostReport{}; }
  Result<std::shared_ptr<backend::Recipe>> prepare(const SandboxSpec&, const backend::ResolvedImage&) override {
    return std::shared_ptr<backend::Recipe>(std::make_shared<LyingRecipe>(script_));
  }
  Result<void> close() override { return {}; }

 private:
  const Script& script_;
};

std::vector<Script> scripts() {
  std::mt19937 random(0x5eed);
  std::string noise(1 << 16, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  protocol::Hello other_build = hello(), factless = hello(), strange = hello();
  other_build.software = "sandbox-agent/9.9.9+000000000000";
  factless.facts.reset();
  strange.max_frame = 1;
  strange.version = 77;
  const std::string hi = greeting();
  const std::string data = frame(FrameType::data, 1, 0, std::string(65536, 'x'), 1);
  return {
      {"silence", "", ""},
      {"hangs up at once", "", "", true},
      {"noise", noise, noise},
      {"zeros without end", "", std::string(65536, '\0')},
      {"ones without end", "", std::string(65536, '\xff')},
      {"HTTP", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
      {"a frame of 4 GiB announced", frame(FrameType::hello, 0, 0, "", 0, 0, 0xffffffffu), std::string(65536, 'h')},
      {"half a hello", hi.substr(0, hi.size() / 2), "", true},
      {"another version", greeting(strange), ""},
      {"another build", greeting(other_build), ""},
      {"a hello without facts", greeting(factless), ""},
      {"DATA before the hello", data + hi, ""},
      {"hello twice", hi + hi, ""},
      {"hello, then silence", hi, ""},
      {"hello, then the end", hi, "", true},
      {"hello, then noise", hi + noise, noise},
      {"DATA of a stream nobody opened, without end", hi, data},
      {"END of a stream nobody opened", hi + frame(FrameType::end, 99, 0, "\x08\x01"), ""},
      {"MESSAGE that is no message", hi + frame(FrameType::message, 1, 0, std::string(300, '\xff')), ""},
      {"credit beyond all bounds", hi + frame(FrameType::credit, 1, ~0ull, "", 0), ""},
      {"OPEN from the agent", hi + frame(FrameType::open, 1, 0, "\x08\x01"), ""},
      {"RESUME of a session that never was", hi + frame(FrameType::resume, 0, 12345, ""), ""},
      {"ACK of what was never sent", hi + frame(FrameType::ack, 0, ~0ull >> 1, ""), ""},
      {"zstd that is none", hi + frame(FrameType::data, 1, 0, "not zstd at all", 1, protocol::kZstd), ""},
      {"PING without end", hi, frame(FrameType::ping, 0, 7, "")},
      {"PONG nobody asked for", hi + frame(FrameType::pong, 0, 7, ""), ""},
      {"GOAWAY with a lie", hi + frame(FrameType::goaway, 0, 0, std::string(70000, 'g')), ""},
  };
}

/// Bytes by which this process may grow. A sanitizer keeps what was freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kMaxGrowth = 1024u << 20;
#else
constexpr std::uint64_t kMaxGrowth = 64u << 20;
#endif

}  // namespace

void check_garbage(Stage& stage, CheckResult& result) {
  const std::uint64_t before = own_memory();
  int refused = 0, lost = 0, ignored = 0;
  for (const Script& script : scripts()) {
    std::vector<std::unique_ptr<backend::Backend>> backends;
    backends.push_back(std::make_unique<LyingBackend>(script));
    auto state = RuntimeState::open_with(RuntimeOptions().state_directory(stage.new_directory("lying")), std::move(backends));
    if (!is_fine(result, state, script.name)) return;
    Runtime runtime(*std::move(state));
    const auto start = std::chrono::steady_clock::now();
    {
      auto box = runtime.create(SandboxSpec(), CreateOptions().cold().deadline(200ms));
      if (!box) {
        box.error().ignore("as it should be");
        ++refused;
      } else {
        // Believed at first: every operation must end by itself, and none may succeed, since nothing true was said.
        auto answer = box->ping(100ms);
        if (!answer && answer.error().code() != ErrorCode::deadline_exceeded)
          ++lost;
        else
          ++ignored;
        if (answer && std::string_view(script.name).find("PONG") == std::string_view::npos)
          return fail(result, std::string(script.name) + ": a ping was answered");
        answer.ignore("counted");
        auto got = box->fs().open_reader("/root/x");
        got.ignore("only opened");
      }
    }
    runtime.close().ignore("nothing of it is real");
    const auto took = std::chrono::steady_clock::now() - start;
    if (took > 5s)
      return fail(result, std::string(script.name) + ": it took " +
                              std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) + " ms");
    const std::uint64_t now = own_memory();
    if (now > before + kMaxGrowth)
      return fail(result, std::string(script.name) + ": this process grew by " + std::to_string((now - before) >> 20) + " MiB");
  }
  pass(result, std::to_string(refused) + " agents refused, " + std::to_string(lost) + " given up, " + std::to_string(ignored) +
                   " waited for in vain, none believed");
}

void check_forged_facts(Stage& stage, CheckResult& result) {
  (void)stage;
  native::Expectation expected;
  expected.mounts = {"/", "/proc", "/root"};
  protocol::Facts honest;
  honest.seccomp_mode = 2;
  honest.no_new_privs = true;
  honest.pid = 1;
  honest.dumpable = false;
  for (const auto& ours : expected.namespaces) honest.namespaces.push_back({ours.key, ours.key + ":[1]"});
  honest.mounts = {{"/", "overlay ro,nosuid,nodev"}, {"/proc", "proc ro,nosuid,nodev,noexec"}, {"/root", "tmpfs rw,nosuid,nodev"}};
  honest.interfaces = {"lo"};
  if (!is_fine(result, expected.verify(honest), "an agent with all locks on")) return;

  struct Lie {
    const char* name;
    std::function<void(protocol::Facts&)> tell;
  };
  std::vector<Lie> lies = {
      {"effective capabilities", [](auto& f) { f.cap_effective = 1ull << 21; }},
      {"permitted capabilities", [](auto& f) { f.cap_permitted = 1; }},
      {"inheritable capabilities", [](auto& f) { f.cap_inheritable = 1; }},
      {"bounding capabilities", [](auto& f) { f.cap_bounding = 1ull << 40; }},
      {"ambient capabilities", [](auto& f) { f.cap_ambient = 1; }},
      {"no filter", [](auto& f) { f.seccomp_mode = 0; }},
      {"strict mode instead of a filter", [](auto& f) { f.seccomp_mode = 1; }},
      {"no no_new_privs", [](auto& f) { f.no_new_privs = false; }},
      {"dumpable", [](auto& f) { f.dumpable = true; }},
      {"process 2", [](auto& f) { f.pid = 2; }},
      {"uid 1000", [](auto& f) { f.uid = 1000; }},
      {"gid 1000", [](auto& f) { f.gid = 1000; }},
      {"an open door", [](auto& f) { f.open_doors = {"unshare_user"}; }},
      {"an interface", [](auto& f) { f.interfaces.push_back("eth0"); }},
      {"a writable root", [](auto& f) { f.mounts[0].value = "overlay rw,nosuid,nodev"; }},
      {"a root with setuid", [](auto& f) { f.mounts[0].value = "overlay ro,nodev"; }},
      {"an executable /proc", [](auto& f) { f.mounts[1].value = "proc ro,nosuid,nodev"; }},
      {"devices in /root", [](auto& f) { f.mounts[2].value = "tmpfs rw,nosuid"; }},
      {"a mount more",
       [](auto& f) {
         f.mounts.push_back({"/host", "ext4 ro,nosuid,nodev"});
       }},
      {"a mount less", [](auto& f) { f.mounts.pop_back(); }},
      {"nothing at all", [](auto& f) { f = protocol::Facts(); }},
  };
  std::size_t caught = 0;
  for (const Lie& lie : lies) {
    protocol::Facts facts = honest;
    lie.tell(facts);
    const auto verdict = expected.verify(facts);
    if (verdict) return fail(result, std::string(lie.name) + " was accepted");
    verdict.error().ignore("as it should be");
    ++caught;
  }
  for (std::size_t i = 0; i < expected.namespaces.size(); ++i) {
    protocol::Facts shared = honest, unknown = honest;
    shared.namespaces[i].value = expected.namespaces[i].value;
    unknown.namespaces.erase(unknown.namespaces.begin() + static_cast<std::ptrdiff_t>(i));
    const auto first = expected.verify(shared), second = expected.verify(unknown);
    if (first || second) return fail(result, "the host's " + expected.namespaces[i].key + " namespace was accepted");
    first.ignore("as it should be");
    second.ignore("as it should be");
    caught += 2;
  }
  pass(result, std::to_string(caught) + " reports with one open lock each, all refused");
}

}  // namespace sandbox::prove
