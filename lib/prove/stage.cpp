#include "prove/stage.hpp"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "backends/native/native.hpp"
#include "core/clock.hpp"
#include "core/text.hpp"
#include "os/memfd.hpp"
#include "os/process.hpp"

namespace sandbox::prove {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 120s;  ///< for one run of the probe, inside or outside
constexpr std::size_t kMaxAnswers = 1 << 20;
constexpr char kProgram[] = "/root/sandbox-probe";

std::string read_all(int fd) {
  std::string text;
  std::array<char, 65536> piece;
  for (ssize_t size; (size = ::read(fd, piece.data(), piece.size())) != 0;) {
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) break;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
  return text;
}

}  // namespace

Answers parse_answers(std::string_view text) {
  Answers answers;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    const auto first = line.find('\t');
    const auto second = first == line.npos ? line.npos : line.find('\t', first + 1);
    if (second == line.npos) continue;
    const std::string_view verdict = line.substr(first + 1, second - first - 1);
    if (verdict != "blocked" && verdict != "open" && verdict != "skipped") continue;
    answers[std::string(line.substr(0, first))] = {std::string(verdict), std::string(line.substr(second + 1))};
  }
  return answers;
}

Result<std::unique_ptr<Stage>> Stage::set_up(const ProveOptions& options) {
  if (options.backend() != "native")
    return Error(ErrorCode::unsupported,
                 "no checks for backend \"" + core::escape_control(options.backend()) + "\"; there are some for native")
        .with_operation("prove");
  std::unique_ptr<Stage> stage(new Stage(options));
  SANDBOX_CHECK(stage->prepare());
  if (::geteuid() == 0) {
    try {
      stage->lab_ = std::make_unique<lab::NetLab>();
      stage->inside_.emplace(stage->lab_->host());
    } catch (const std::exception& error) {
      return Error(ErrorCode::unsupported, std::string("the laboratory network cannot be built: ") + error.what()).with_operation("prove");
    }
  }
  RuntimeOptions runtime;
  runtime.state_directory(stage->directory_ + "/state").helper_directory(options.helper_directory()).launchers(1);
  SANDBOX_TRY(stage->runtime_, Runtime::open(std::move(runtime)));
  SANDBOX_TRY(stage->host_, stage->runtime_->host());
  return stage;
}

Result<std::unique_ptr<Stage>> Stage::around(const ProveOptions& options, Runtime runtime) {
  std::unique_ptr<Stage> stage(new Stage(options));
  SANDBOX_CHECK(stage->prepare());
  stage->runtime_.emplace(std::move(runtime));
  SANDBOX_TRY(stage->host_, stage->runtime_->host());
  return stage;
}

Result<void> Stage::prepare() {
  SANDBOX_TRY(probe_, os::open_helper(native::helper_directory(options_.helper_directory()), "sandbox-probe"));
  program_ = read_all(probe_.get());
  std::string pattern = (fs::temp_directory_path() / "sandbox-prove-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) return Error::from_errno(errno, "prove", pattern);
  directory_ = pattern;
  outside_ = new_directory("outside");
  unsigned char random[16];
  if (::getrandom(random, sizeof random, 0) != sizeof random) return Error::from_errno(errno, "prove", "getrandom");
  secret_ = "secret of the host " + core::to_hex(random, sizeof random);
  std::ofstream(outside_ + "/f") << secret_;
  // Others may look: what keeps a sandbox away is not the mode.
  ::chmod(directory_.c_str(), 0755);
  ::chmod(outside_.c_str(), 0755);
  ::chmod((outside_ + "/f").c_str(), 0644);
  return {};
}

Stage::~Stage() {
  runtime_.reset();
  inside_.reset();
  lab_.reset();
  std::error_code ignored;
  if (!directory_.empty()) fs::remove_all(directory_, ignored);
}

Result<void> Stage::close() { return runtime_->close(); }

SandboxSpec Stage::spec() const {
  SandboxSpec spec;
  if (!host_.unenforced.empty()) spec.allow(allow::unenforced_limits{});
  return spec;
}

std::string Stage::unenforced(const std::string& limit) const {
  for (const std::string& line : host_.unenforced)
    if (line == limit || line.starts_with(limit + ":")) return line;
  return {};
}

Result<void> Stage::equip(Sandbox& box) {
  WriteOptions executable;
  executable.mode = 0755;
  return box.fs().write(kProgram, program_, executable);
}

Result<Sandbox> Stage::make(const SandboxSpec& spec) {
  SANDBOX_TRY(Sandbox box, runtime_->create(spec, CreateOptions().cold()));
  SANDBOX_CHECK(equip(box));
  return box;
}

Answers Stage::ask(Sandbox& box, const std::vector<std::string>& words, const Command* like) {
  std::vector<std::string> argv = {kProgram, "try"};
  argv.insert(argv.end(), words.begin(), words.end());
  Command command = Command::from_argv(std::move(argv));
  command.timeout(kPatience).max_output(ByteCount(kMaxAnswers));
  if (like != nullptr && !like->workdir().empty()) command.workdir(like->workdir());
  auto result = box.process().exec(std::move(command));
  Answers answers;
  if (!result) {
    for (const std::string& word : words) answers[word] = {"", result.error().to_string()};
    return answers;
  }
  answers = parse_answers(result->stdout_text());
  for (const std::string& word : words)
    if (!answers.contains(word))
      answers[word] = {"", "the probe ended first: " + std::string(name(result->cause)) + " " + std::string(result->stderr_text())};
  return answers;
}

Answers Stage::ask_outside(const std::string& mode, const std::vector<std::string>& words, int netns) {
  Answers answers;
  const auto nothing = [&](const std::string& why) {
    for (const std::string& word : words)
      if (!answers.contains(word)) answers[word] = {"skipped", why};
    return answers;
  };
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return nothing("no pipe");
  core::UniqueFd from(ends[0]), to(ends[1]);
  std::vector<std::string> argv = {"sandbox-probe", mode};
  argv.insert(argv.end(), words.begin(), words.end());
  std::optional<lab::NetLab::Inside> there;
  if (netns >= 0) there.emplace(netns);
  const std::array<int, 1> passed = {to.get()};
  auto process = os::PidfdProcess::spawn(probe_.get(), argv, passed);
  there.reset();
  to.reset();
  if (!process) return nothing(process.error().to_string());
  const auto deadline = core::SteadyClock::now() + kPatience;
  std::string text;
  std::array<char, 4096> piece;
  while (text.size() < kMaxAnswers) {
    const int left = core::poll_timeout(deadline);
    pollfd ready{from.get(), POLLIN, 0};
    if (left == 0 || ::poll(&ready, 1, left) != 1) break;
    const ssize_t size = ::read(from.get(), piece.data(), piece.size());
    if (size <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
  process->wait(core::SteadyClock::now() + 5s).ignore("killed by its destructor then");
  answers = parse_answers(text);
  return nothing("the control gave no answer");
}

std::string Stage::harm() const {
  std::ifstream file(outside_ + "/f");
  std::stringstream content;
  content << file.rdbuf();
  if (content.str() != secret_) return "the host's file was changed";
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(outside_, failed))
    if (entry.path().filename() != "f") return "the host's directory got " + core::escape_control(entry.path().filename().string());
  if (failed) return "the host's directory is gone: " + failed.message();
  struct stat status;
  if (::stat((outside_ + "/f").c_str(), &status) != 0 || (status.st_mode & 07777) != 0644) return "the host's file got another mode";
  return {};
}

std::string Stage::new_directory(const std::string& name) {
  std::string path = directory_ + "/" + name;
  for (int i = 1; ::mkdir(path.c_str(), 0700) != 0 && errno == EEXIST; ++i) path = directory_ + "/" + name + "-" + std::to_string(i);
  return path;
}

std::uint64_t own_memory() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace sandbox::prove
