#include "peers.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "floor.hpp"

namespace bench {

namespace fs = std::filesystem;
using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

std::string find_program(const char* name) {
  for (const char* folder : {"/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"}) {
    const std::string path = std::string(folder) + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return {};
}

Result<void> expect_zero(Result<int> code, const char* name) {
  if (!code) return std::move(code).error();
  if (*code != 0) return Error(ErrorCode::unavailable, std::string(name) + " ended with " + std::to_string(*code));
  return {};
}

class Bubblewrap : public Peer {
 public:
  explicit Bubblewrap(std::string program)
      : argv_{std::move(program), "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib",
              "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/usr/bin/true"} {}
  std::string name() const override { return "bwrap"; }
  Result<void> run_true() override { return expect_zero(run_silent(argv_), "bwrap"); }

 private:
  std::vector<std::string> argv_;
};

class Runc : public Peer {
 public:
  explicit Runc(std::string program) : program_(std::move(program)) {
    char pattern[] = "/tmp/sandbox-bench-runc-XXXXXX";
    if (::mkdtemp(pattern) == nullptr) return;
    folder_ = pattern;
    fs::create_directories(folder_ + "/rootfs/usr");
    for (const char* name : {"proc", "dev", "tmp"}) fs::create_directories(folder_ + "/rootfs/" + name);
    for (const char* name : {"bin", "lib", "lib64"}) fs::create_symlink(std::string("usr/") + name, folder_ + "/rootfs/" + name);
    std::ofstream(folder_ + "/config.json") << R"({"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},
"args":["/usr/bin/true"],"env":["PATH=/usr/bin"],"cwd":"/","capabilities":{},"noNewPrivileges":true},
"root":{"path":"rootfs","readonly":true},"hostname":"bench",
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
{"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["nosuid","nodev"]},
{"destination":"/usr","type":"bind","source":"/usr","options":["rbind","ro"]}],
"linux":{"resources":{"memory":{"limit":536870912},"pids":{"limit":256}},
"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}]}})";
  }
  ~Runc() override {
    std::error_code error;
    if (!folder_.empty()) fs::remove_all(folder_, error);
  }
  std::string name() const override { return "runc"; }
  Result<void> run_true() override {
    return expect_zero(run_silent({program_, "--root", folder_ + "/state", "run", "--bundle", folder_,
                                   "sandbox-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++count_)}),
                       "runc");
  }

 private:
  std::string program_, folder_;
  int count_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Peer>> installed_peers() {
  std::vector<std::unique_ptr<Peer>> peers;
  const auto take = [&](std::unique_ptr<Peer> peer) {
    // The first run is the warm-up, and says whether it works here at all.
    if (auto works = peer->run_true(); works) peers.push_back(std::move(peer));
    else std::fprintf(stderr, "peer %s is installed but does not work here: %s\n", peer->name().c_str(), works.error().to_string().c_str());
  };
  if (auto bwrap = find_program("bwrap"); !bwrap.empty()) take(std::make_unique<Bubblewrap>(std::move(bwrap)));
  if (auto runc = find_program("runc"); !runc.empty() && ::geteuid() == 0) take(std::make_unique<Runc>(std::move(runc)));
  return peers;
}

}  // namespace bench
