#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

/// sandbox-probe: tries one way out after the other and says what happened. `sbx prove` (lib/prove) puts it into a fresh
/// sandbox and runs it outside as the control. Static, no library beyond libc; written so that an attempt that succeeds
/// is harmless where it runs: inside a sandbox, or in the control's own namespaces.
namespace probe {

enum class Verdict : std::uint8_t {
  blocked,  ///< the attempt failed
  open,     ///< it worked: a hole, or in a control the sign that the attempt bites
  skipped,  ///< there is no such thing here to try
};

/// What one attempt saw.
struct Seen {
  Verdict verdict = Verdict::skipped;
  std::string detail;
};

/// How an attempt takes part in a control run.
enum class Control : std::uint8_t {
  run,    ///< as inside
  never,  ///< by design: `why` says what takes its place
};

struct Attempt {
  const char* id;
  Seen (*run)(const std::string& argument);
  Control control = Control::run;
  const char* why = "";
};

/// True in a control run.
extern bool outside;
/// Whom attempts on another process aim at: 1 (the agent) inside, a process made for it in a control run.
extern pid_t target;
/// Descriptors beyond 2 that this program was started with.
extern int inherited_descriptors;
/// Shared between an attempt's process and the one that waits for it: what a bomb had reached when it was killed.
extern volatile std::uint64_t* reached;

/// The kernel's answer is the last errno; or the text is the whole answer.
Seen blocked(const std::string& what);
Seen blocked_text(std::string what);
Seen open_door(std::string what);
Seen skipped(std::string what);
/// blocked for a negative result, open otherwise.
Seen verdict(long result, const std::string& what);
/// For calls that must not succeed even in a control: any answer but "you may not" shows that the door is open.
Seen reaches(long result, const std::string& what);
/// What a control does in place of an attempt that would change the host: whether this process could.
Seen would_be_permitted(int capability, const char* name, const std::string& what);
/// `path` opened with `flags`.
Seen opens(const char* path, int flags);
/// The first of `paths` that opens.
Seen any_opens(std::span<const char* const> paths, int flags, const std::string& what);
/// A hexadecimal or decimal line of /proc/self/status; false without it.
bool status_line(const char* key, int base, unsigned long long& value);
/// The whole of a small file, or "".
std::string read_text(const char* path);
/// Runs `body` in a child; its end by a signal is the answer "blocked".
Seen in_child(Seen (*body)());

std::span<const Attempt> identity_attempts();
std::span<const Attempt> mount_attempts();
std::span<const Attempt> kernel_attempts();
std::span<const Attempt> agent_attempts();
std::span<const Attempt> file_attempts();
std::span<const Attempt> resource_attempts();
std::span<const Attempt> network_attempts();
std::span<const Attempt> mark_attempts();

/// `race DIRECTORY OUTSIDE`: swaps what stands at DIRECTORY/x between a directory, links to OUTSIDE and magic links until
/// standard input ends, then prints how often.
int race(const std::string& directory, const std::string& outside_path);
/// `busy N`: N processes that ignore signals and never stop.
int busy(int count);
/// `mark`: leaves traces of every kind for the attempts "mark.*" of a later tenant to look for.
int leave_marks();

}  // namespace probe
