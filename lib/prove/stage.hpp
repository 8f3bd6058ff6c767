#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sandbox/prove.hpp>
#include <sandbox/runtime.hpp>
#include <sandbox/sandbox.hpp>

#include "core/unique_fd.hpp"
#include "lab/netlab.hpp"

/// Where a proof takes place: a temporary directory with something in it that no sandbox may see, a network of stand-ins
/// (root only), a runtime within it, and the probe.
namespace sandbox::prove {

/// What the probe said about one attempt.
struct Answer {
  std::string verdict;  ///< "blocked", "open", "skipped"; empty: it said nothing
  std::string detail;
};
/// By the words that the probe was asked with: "unshare_user", "tcp=10.0.0.1:80".
using Answers = std::map<std::string, Answer>;

class Stage {
 public:
  /// Errors: those of Runtime::open; not_found (the probe); unsupported (another backend than native).
  static Result<std::unique_ptr<Stage>> set_up(const ProveOptions& options);
  /// On a runtime that the caller opened, in the caller's network: without a laboratory.
  static Result<std::unique_ptr<Stage>> around(const ProveOptions& options, Runtime runtime);
  ~Stage();

  const ProveOptions& options() const noexcept { return options_; }
  Runtime& runtime() noexcept { return *runtime_; }
  /// Null without root.
  lab::NetLab* lab() noexcept { return lab_.get(); }
  /// The default spec; where this host cannot enforce every limit, with permission to go on.
  SandboxSpec spec() const;
  /// Why this host does not enforce `limit` ("memory", "pids", …), or "".
  std::string unenforced(const std::string& limit) const;

  /// A fresh sandbox with the probe in /root.
  Result<Sandbox> make(const SandboxSpec& spec);
  Result<void> equip(Sandbox& box);
  Answers ask(Sandbox& box, const std::vector<std::string>& words, const Command* like = nullptr);
  /// Where there is no sandbox. "control": in namespaces of the probe's own; "beside": here, or in the network namespace
  /// `netns`, for attempts that only look.
  Answers ask_outside(const std::string& mode, const std::vector<std::string>& words, int netns = -1);

  const std::string& directory() const noexcept { return directory_; }
  /// A directory with a file "f" that holds secret().
  const std::string& outside() const noexcept { return outside_; }
  const std::string& secret() const noexcept { return secret_; }
  /// What somebody did to outside(), or "".
  std::string harm() const;
  /// A new empty directory below directory().
  std::string new_directory(const std::string& name);
  /// Ends the runtime. Its failure.
  Result<void> close();

 private:
  explicit Stage(ProveOptions options) : options_(std::move(options)) {}
  Result<void> prepare();

  const ProveOptions options_;
  std::string directory_, outside_, secret_;
  core::UniqueFd probe_;
  std::string program_;  ///< the probe's bytes
  std::unique_ptr<lab::NetLab> lab_;
  std::optional<lab::NetLab::Inside> inside_;
  std::optional<Runtime> runtime_;
  HostReport host_;
};

/// Lines "ID <tab> verdict <tab> detail" of the probe.
Answers parse_answers(std::string_view text);

/// Bytes of memory that this process has in use.
std::uint64_t own_memory();

}  // namespace sandbox::prove
