// Archives from hostile hands, into both extractors of this host: image layers (lib/image) and downloads (lib/api).
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zstd.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "api/extract.hpp"
#include "image/unpack.hpp"
#include "prove/catalogue.hpp"
#include "tarstream/writer.hpp"

namespace sandbox::prove {

namespace fs = std::filesystem;
using tarstream::Kind;
using tarstream::Member;

namespace {

Member member(std::string name, Kind kind = Kind::file, std::string link = {}, std::uint64_t size = 0) {
  Member made;
  made.name = std::move(name);
  made.kind = kind;
  made.link = std::move(link);
  made.size = size;
  made.mode = kind == Kind::directory ? 0755 : 06755;  // setuid and setgid, to see them dropped
  return made;
}

class Archive {
 public:
  Archive& add(const Member& one, std::string_view content = "owned\n") {
    Member sized = one;
    if (one.kind == Kind::file) sized.size = content.size();
    bytes_ += tarstream::encode_header(sized);
    if (one.kind == Kind::file) bytes_.append(content).append(tarstream::padding(content.size()), '\0');
    return *this;
  }
  Archive& raw(const std::string& bytes) { return bytes_ += bytes, *this; }
  std::string take() && { return std::move(bytes_) + std::string(tarstream::kTrailer, '\0'); }

 private:
  std::string bytes_;
};

struct Form {
  const char* name;
  std::string archive;
};

std::vector<Form> slips(const std::string& outside) {
  const std::string relative = "../outside";  // every form is unpacked beside it
  const std::string deep(300, 'd');
  std::vector<Form> forms;
  const auto form = [&](const char* name, Archive archive) { forms.push_back({name, std::move(archive).take()}); };
  form("dots", Archive().add(member("../outside/slip")));
  form("dots in between", Archive().add(member("a/../../outside/slip")));
  form("dots behind", Archive().add(member("a/b/../../..")));
  form("absolute", Archive().add(member(outside + "/slip")));
  form("double slash", Archive().add(member("/" + outside + "/slip")));
  form("symlink, then through it", Archive().add(member("l", Kind::symlink, outside)).add(member("l/slip")));
  form("relative symlink, then through it", Archive().add(member("l", Kind::symlink, relative)).add(member("l/slip")));
  form("symlink to a symlink",
       Archive().add(member("a", Kind::symlink, "..")).add(member("b", Kind::symlink, "a/outside")).add(member("b/slip")));
  form("directory replaced by a symlink",
       Archive().add(member("d", Kind::directory)).add(member("d/x")).add(member("d", Kind::symlink, outside)).add(member("d/slip")));
  form("symlink replaced by a file", Archive().add(member("f", Kind::symlink, outside + "/f")).add(member("f")));
  form("file over a symlink to a file", Archive().add(member("f", Kind::symlink, relative + "/f")).add(member("./f")));
  form("hard link outside", Archive().add(member("h", Kind::hardlink, outside + "/f")).add(member("h")));
  form("hard link by dots", Archive().add(member("h", Kind::hardlink, relative + "/f")).add(member("h")));
  form("hard link through a symlink",
       Archive().add(member("l", Kind::symlink, outside)).add(member("h", Kind::hardlink, "l/f")).add(member("h")));
  form("hard link to a symlink, written through",
       Archive().add(member("l", Kind::symlink, outside + "/f")).add(member("h", Kind::hardlink, "l")).add(member("h")));
  form("long name", Archive().add(member(deep + "/../../outside/slip")));
  form("long link",
       Archive().add(member("l", Kind::symlink, "./" + std::string(40, '/') + outside + std::string(200, '/'))).add(member("l/slip")));
  form("magic link", Archive().add(member("l", Kind::symlink, "/proc/self/root" + outside)).add(member("l/slip")));
  form("magic descriptor", Archive().add(member("l", Kind::symlink, "/proc/self/cwd/" + relative)).add(member("l/slip")));
  form("whiteout of the parent", Archive().add(member("../outside/.wh.f")));
  form("whiteout with dots", Archive().add(member(".wh...")).add(member(".wh..")).add(member("a/.wh.../f")));
  form("whiteout through a symlink", Archive().add(member("l", Kind::symlink, outside)).add(member("l/.wh.f")));
  form("opaque through a symlink", Archive().add(member("l", Kind::symlink, outside)).add(member("l/.wh..wh..opq")));
  form("fifo and devices", Archive().add(member("p", Kind::fifo)).add(member("c", Kind::character)).add(member("b", Kind::block)));
  form("device as a directory", Archive().add(member("c", Kind::character)).add(member("c/x")));
  form("setuid", Archive().add(member("suid")));
  form("the root itself as a link", Archive().add(member(".", Kind::symlink, outside)).add(member("slip")));
  form("the root itself as a file", Archive().add(member(".")).add(member("./..")));
  form("empty names", Archive().add(member("")).add(member("/")).add(member("//")));
  form("directory mode through a symlink",
       Archive().add(member("l", Kind::symlink, outside)).add(member("l", Kind::directory)).add(member("l/", Kind::directory)));
  return forms;
}

Result<void> unpack_image(const std::string& archive, const std::string& directory, image::UnpackOptions options = {}) {
  const core::UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::size_t at = 0;
  options.name = "hostile.tar";
  auto done = image::unpack(
      [&](std::span<std::byte> buffer) -> Result<std::size_t> {
        const std::size_t size = std::min(buffer.size(), archive.size() - at);
        std::memcpy(buffer.data(), archive.data() + at, size);
        at += size;
        return size;
      },
      fd.get(), options);
  if (!done) return std::move(done).error();
  return {};
}

Result<void> unpack_download(const std::string& archive, const std::string& directory) {
  api::Extractor extractor(core::UniqueFd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  SANDBOX_CHECK(extractor.feed(as_bytes(archive)));
  auto done = extractor.finish();
  if (!done) return std::move(done).error();
  return {};
}

/// What must not be in a tree that came from an archive, or "".
std::string strange(const std::string& directory) {
  std::error_code failed;
  for (auto entry = fs::recursive_directory_iterator(directory, failed); entry != fs::recursive_directory_iterator();
       entry.increment(failed)) {
    if (failed) break;
    struct stat status;
    const std::string path = entry->path().string();
    if (::lstat(path.c_str(), &status) != 0) continue;
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) || S_ISFIFO(status.st_mode)) return "a device or FIFO was made";
    if (S_ISREG(status.st_mode) && (status.st_mode & (S_ISUID | S_ISGID))) return "a setuid bit was kept";
    char value[64];
    if (::lgetxattr(path.c_str(), "trusted.overlay.opaque", value, sizeof value) > 0 && S_ISREG(status.st_mode))
      return "an overlay attribute was forged";
  }
  return {};
}

}  // namespace

void check_tar_slip(Stage& stage, CheckResult& result) {
  int refused = 0, harmless = 0;
  // Their links say "../outside": what lies beside where they are unpacked.
  for (const Form& form : slips(stage.outside())) {
    for (const bool image : {true, false}) {
      const std::string directory = stage.new_directory("tar");
      const auto done = image ? unpack_image(form.archive, directory) : unpack_download(form.archive, directory);
      done ? ++harmless : ++refused;
      done.ignore("either is right, as long as nothing lands outside");
      const std::string where = std::string(form.name) + (image ? " (image)" : " (download)");
      if (const std::string harm = stage.harm(); !harm.empty()) return fail(result, where + ": " + harm);
      if (const std::string odd = strange(directory); !odd.empty()) return fail(result, where + ": " + odd);
      std::error_code ignored;
      fs::remove_all(directory, ignored);
    }
  }
  pass(result, std::to_string(refused) + " archives refused, " + std::to_string(harmless) + " unpacked without harm");
}

void check_bombs(Stage& stage, CheckResult& result) {
  image::UnpackOptions tight;
  tight.limits.max_entries = 1000;
  tight.limits.max_bytes = 4 << 20;
  tight.limits.max_ratio = 100;
  tight.limits.ratio_from = 1 << 20;
  std::string zeros;
  {
    Archive large;
    large.add(member("zeros"), std::string(8 << 20, '\0'));
    const std::string plain = std::move(large).take();
    zeros.resize(ZSTD_compressBound(plain.size()));
    zeros.resize(ZSTD_compress(zeros.data(), zeros.size(), plain.data(), plain.size(), 3));
  }
  Archive many, deep, liar;
  for (int i = 0; i < 2000; ++i) many.add(member("f" + std::to_string(i)), "");
  std::string path = "d";
  for (int i = 0; i < 3000 && path.size() < 60000; ++i) path += "/d";
  deep.add(member(path, Kind::directory));
  Member huge = member("huge");
  huge.size = std::uint64_t{1} << 50;
  liar.raw(tarstream::encode_header(huge)).raw("not so much");
  Archive large;
  large.add(member("large"), std::string(5 << 20, 'x'));
  const std::vector<Form> forms = {{"8 MiB of zeros in a few hundred bytes", zeros},
                                   {"2000 entries", std::move(many).take()},
                                   {"6000 bytes of path", std::move(deep).take()},
                                   {"a petabyte announced", std::move(liar).take()},
                                   {"5 MiB in one file", std::move(large).take()}};
  int refused = 0;
  for (const Form& form : forms) {
    const std::string directory = stage.new_directory("bomb");
    const auto done = unpack_image(form.archive, directory, tight);
    std::uint64_t bytes = 0;
    std::error_code failed;
    for (auto entry = fs::recursive_directory_iterator(directory, failed); !failed && entry != fs::recursive_directory_iterator();
         entry.increment(failed))
      if (entry->is_regular_file(failed)) bytes += entry->file_size(failed);
    fs::remove_all(directory, failed);
    if (done) return fail(result, std::string(form.name) + " was unpacked");
    done.ignore("as it should be");
    if (bytes > tight.limits.max_bytes + (1 << 20))
      return fail(result, std::string(form.name) + " left " + std::to_string(bytes) + " bytes");
    ++refused;
  }
  pass(result, std::to_string(refused) + " bombs refused at their limit");
}

}  // namespace sandbox::prove
