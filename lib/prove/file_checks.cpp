// Files, from the host's side: what the host's own calls do with hostile ones.
#include <chrono>

#include "prove/catalogue.hpp"

namespace sandbox::prove {

using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

/// CVE-2024-21626 in other runtimes: a descriptor of the host that is open while a program starts is a way out of the
/// mount namespace, by /proc/self/fd/N as working directory.
void check_workdirs(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  std::vector<std::string> places;
  for (int fd = 0; fd < 24; ++fd) places.push_back("/proc/self/fd/" + std::to_string(fd));
  for (int fd = 3; fd < 12; ++fd) places.push_back("/proc/self/fd/" + std::to_string(fd) + "/../../..");
  for (const char* place : {"/proc/self/cwd", "/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/proc/1/fd/3", "/proc/self/task/1/root"})
    places.emplace_back(place);
  int refused = 0, inside = 0;
  for (const std::string& place : places) {
    const Command like = Command("").workdir(place);
    const Answer answer = stage.ask(*box, {"cwd"}, &like)["cwd"];
    if (answer.verdict == "blocked")
      ++inside;
    else if (answer.verdict.empty() && answer.detail.find("the probe ended first") == std::string::npos)
      ++refused;
    else
      return fail(result, place + ": " + answer.detail);
  }
  pass(result, std::to_string(refused) + " places refused, " + std::to_string(inside) + " lie inside the sandbox");
}

void check_fifos(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  auto made = box->process().exec("mkdir /root/d; mkfifo /root/d/fifo; ln -s fifo /root/d/link; mkfifo /root/fifo");
  if (!is_fine(result, made, "mkfifo")) return;
  if (!made->ok()) return skip(result, "the image has no mkfifo: " + std::string(made->stderr_text()));
  const auto start = Clock::now();
  Fs files = box->fs();
  std::string wrong;
  const auto refused = [&](const char* call, const auto& outcome) {
    if (outcome)
      wrong += std::string(call) + " succeeded; ";
    else
      outcome.error().ignore("as it should be");
  };
  for (const char* path : {"/root/fifo", "/root/d/link"}) {
    refused("read", files.read(path));
    refused("read_range", files.read_range(path, 0, 16));
    refused("append", files.append(path, "x"));
    refused("copy", files.copy(path, "/root/copy"));
  }
  const std::string target = stage.new_directory("fifo-download");
  const auto downloaded = files.download("/root/d", target);
  if (!downloaded)
    wrong += "download: " + downloaded.error().to_string() + "; ";
  else if (downloaded->skipped.empty())
    wrong += "download took a FIFO; ";
  const auto listed = files.list("/root/d");
  if (!listed || listed->size() != 2) wrong += "list; ";
  const auto took = Clock::now() - start;
  if (took > 5s) wrong += "it took seconds; ";
  wrong.empty() ? pass(result, "every call answered, in " +
                                   std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) + " ms together")
                : fail(result, wrong);
}

void check_error_texts(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  Fs files = box->fs();
  std::vector<std::string> texts;
  const auto note = [&](const auto& outcome) {
    if (!outcome) texts.push_back(outcome.error().to_string());
  };
  note(files.read("/root/none"));
  note(files.read("/proc/1/mem"));
  note(files.read("/proc/1/root/etc/shadow"));
  note(files.write("/usr/x", std::string_view("x")));
  note(files.write("/none/x", std::string_view("x")));
  note(files.rename("/root/none", "/usr/none"));
  note(files.mkdir("/sys/x"));
  note(files.remove_all("/usr/bin"));
  note(files.symlink("x", "/etc/x"));
  note(files.copy("/root/none", "/tmp/none"));
  note(files.list("/root/none"));
  note(box->process().exec(Command("/root/none").args("x")));
  note(box->process().exec(Command("true").workdir("/none")));
  note(box->net().connect(1, 50ms));
  if (texts.size() < 10) return fail(result, "of fourteen calls that must fail only " + std::to_string(texts.size()) + " did");
  for (const std::string& text : texts)
    for (const std::string& secret :
         {stage.directory(), std::string("/var/lib/sandbox"), std::string("/run/sandbox"), std::string("/sys/fs/cgroup/")})
      if (text.find(secret) != text.npos) return fail(result, "an error names a place of the host: " + text);
  pass(result, std::to_string(texts.size()) + " errors, none names a place of the host");
}

void check_overlay_forging(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec().writable_root());
  if (!is_fine(result, box, "create")) return;
  // Whatever of this the kernel permits: markers of overlayfs and of tar layers over things of the image.
  auto forged = box->process().exec(
      "cd /usr; : > .wh.bin; : > bin/.wh..wh..opq; mknod share c 0 0; mknod bin/forged c 0 0; mkdir lib/forged; "
      "for a in trusted.overlay.opaque user.overlay.opaque user.overlay.whiteout; do setfattr -n $a -v y lib bin lib/forged; done; "
      ": > /.wh.usr; : > /.wh..wh..opq; : > /root/.wh.kept; : > /root/kept; exit 0");
  if (!is_fine(result, forged, "forge")) return;
  auto saved = box->save_template("forged");
  if (!is_fine(result, saved, "save_template")) return;
  box->close().ignore("only its template matters");
  auto heir = stage.make(stage.spec().writable_root().image(Image::from_template(saved->id)));
  if (!heir) {
    stage.runtime().remove_template(saved->id).ignore("its runtime ends soon");
    return pass(result, "the template is refused: " + heir.error().to_string());
  }
  std::string missing;
  for (const char* path : {"/usr/bin/env", "/usr/lib", "/usr/share", "/etc/passwd", "/root/kept"}) {
    const auto there = heir->fs().exists(path);
    if (!there || !*there) missing += std::string(path) + " ";
  }
  const auto devices = heir->process().exec("find /usr/bin /usr/share /root -maxdepth 1 \\( -type c -o -type b \\) 2>/dev/null");
  if (devices && !devices->stdout_text().empty()) missing += "devices: " + std::string(devices->stdout_text());
  heir->close().ignore("it was looked at");
  stage.runtime().remove_template(saved->id).ignore("its runtime ends soon");
  if (!missing.empty()) return fail(result, "in the template's heir is missing or forged: " + missing);
  pass(result, "the heir of the template has everything of its image");
}

}  // namespace sandbox::prove
