#include "backends/native/userland.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

namespace sandbox::native {
namespace {

using launch::EntryKind;
using launch::TreeEntry;

/// What of the host's /etc a program may need and nobody minds: how libraries and languages find their parts, which
/// certificates to trust, names of ports. Nothing about users, machines, keys or services.
constexpr const char* kEtcCopies[] = {
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/certs", "ssl/openssl.cnf", "ca-certificates.conf",
    "pki/tls/certs", "pki/ca-trust/extracted", "localtime", "timezone", "profile", "bash.bashrc", "bashrc", "inputrc",
    "services", "protocols", "ethertypes", "rpc", "mime.types", "os-release", "debian_version", "locale.alias", "locale.conf",
    "default/locale", "fonts", "magic", "magic.mime", "terminfo", "shells", "host.conf", "gai.conf", "python3", "python3.9",
    "python3.10", "python3.11", "python3.12", "python3.13", "perl", "ImageMagick-6", "java-11-openjdk", "java-17-openjdk",
    "java-21-openjdk", "R", "emacs", "vim", "nanorc"};

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "bin:x:2:2:bin:/bin:/usr/sbin/nologin\n"
    "sys:x:3:3:sys:/dev:/usr/sbin/nologin\n"
    "mail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n"
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
    "user:x:1000:1000:user:/tmp:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
constexpr std::string_view kGroup =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nwww-data:x:33:\nutmp:x:43:\n"
    "staff:x:50:\nusers:x:100:\nuser:x:1000:\nnogroup:x:65534:\n";
constexpr std::string_view kNsswitch =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"
    "ethers: files\nrpc: files\n";

TreeEntry entry(EntryKind kind, std::string path, std::string source = {}, std::uint32_t mode = 0) {
  TreeEntry made;
  made.kind = kind;
  made.path = std::move(path);
  made.source = std::move(source);
  made.mode = mode;
  return made;
}

}  // namespace

std::vector<TreeEntry> host_userland(const std::string& hostname, const std::string& resolv_conf) {
  std::vector<TreeEntry> entries;
  entries.push_back(entry(EntryKind::bind, "usr", "/usr"));
  // /bin and its like: links into /usr on a merged host, directories of their own elsewhere.
  for (const char* name : {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}) {
    const std::string path = std::string("/") + name;
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) continue;
    if (S_ISLNK(info.st_mode)) {
      char target[256];
      const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
      std::string_view text(target, size > 0 ? static_cast<std::size_t>(size) : 0);
      if (text.starts_with("usr/") || text.starts_with("/usr/")) entries.push_back(entry(EntryKind::symlink, name, std::string(text)));
    } else if (S_ISDIR(info.st_mode)) {
      entries.push_back(entry(EntryKind::bind, name, path));
    }
  }
  for (const char* path : {"etc", "dev", "proc", "sys", "root", "tmp", "run", "run/lock", "home", "mnt", "opt", "srv", "media", "var",
                           "var/cache", "var/lib", "var/log", "var/spool", "var/mail", "etc/ssl", "etc/default", "etc/pki", "etc/pki/tls",
                           "etc/pki/ca-trust"})
    entries.push_back(entry(EntryKind::directory, path));
  entries.push_back(entry(EntryKind::symlink, "var/tmp", "/tmp"));
  entries.push_back(entry(EntryKind::symlink, "var/run", "/run"));
  entries.push_back(entry(EntryKind::symlink, "var/lock", "/run/lock"));
  entries.push_back(entry(EntryKind::file, "etc/passwd", std::string(kPasswd)));
  entries.push_back(entry(EntryKind::file, "etc/group", std::string(kGroup)));
  entries.push_back(entry(EntryKind::file, "etc/nsswitch.conf", std::string(kNsswitch)));
  entries.push_back(entry(EntryKind::file, "etc/hostname", hostname + "\n"));
  entries.push_back(entry(EntryKind::file, "etc/hosts",
                          "127.0.0.1 localhost " + hostname + "\n::1 localhost ip6-localhost ip6-loopback\n"));
  entries.push_back(entry(EntryKind::symlink, "etc/mtab", "/proc/self/mounts"));
  entries.push_back(entry(EntryKind::file, "etc/resolv.conf", resolv_conf));
  for (const char* path : kEtcCopies) entries.push_back(entry(EntryKind::copy, std::string("etc/") + path, std::string("/etc/") + path));
  return entries;
}

}  // namespace sandbox::native
