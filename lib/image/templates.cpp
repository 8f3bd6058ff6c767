#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <optional>
#include <vector>

#include "core/sync_point.hpp"
#include "image/digest.hpp"
#include "image/pack.hpp"
#include "image/store_impl.hpp"
#include "image/unpack.hpp"
#include "protocol/messages.hpp"

/// Templates of the store: saved, read back, told of and removed.
namespace sandbox::image {
namespace {

constexpr std::size_t kMaxRecord = 64 << 10;
constexpr std::size_t kMaxLabel = 256;
constexpr int kCompression = 3;

/// What <id>.meta holds after its own digest and a newline. Field numbers are the format: append, never renumber.
struct TemplateRecord {
  std::uint32_t version = 1;
  std::string id, label, digest;
  std::uint64_t size = 0;
  std::uint32_t image_kind = 0;
  std::string image_reference;
  std::uint64_t memory = 0, cpus = 0, pids = 0, open_files = 0, disk = 0, inodes = 0;  ///< cpus: bits of the double
  bool writable_root = false;
  std::int64_t created_ns = 0;
  std::string base;  ///< layer of the archive underneath; empty: another kind of image, or not known
  SANDBOX_FIELDS(SANDBOX_FIELD(1, version) SANDBOX_FIELD(2, id) SANDBOX_FIELD(3, label) SANDBOX_FIELD(4, digest)
                 SANDBOX_FIELD(5, size) SANDBOX_FIELD(6, image_kind) SANDBOX_FIELD(7, image_reference)
                 SANDBOX_FIELD(8, memory) SANDBOX_FIELD(9, cpus) SANDBOX_FIELD(10, pids) SANDBOX_FIELD(11, open_files)
                 SANDBOX_FIELD(12, disk) SANDBOX_FIELD(13, inodes) SANDBOX_FIELD(14, writable_root)
                 SANDBOX_FIELD(15, created_ns) SANDBOX_FIELD(16, base))
};

std::optional<Image> image_of(std::uint32_t kind, const std::string& reference) {
  switch (static_cast<Image::Kind>(kind)) {
    case Image::Kind::host: return Image::host();
    case Image::Kind::directory: return Image::directory(reference);
    case Image::Kind::tar: return Image::tar(reference);
    case Image::Kind::template_id: return std::nullopt;  // saved templates are flat
  }
  return std::nullopt;
}

TemplateRecord record_of(const TemplateInfo& info) {
  TemplateRecord record;
  record.id = info.id;
  record.label = info.label;
  record.digest = info.digest;
  record.size = info.size.bytes();
  record.image_kind = static_cast<std::uint32_t>(info.image.kind());
  record.image_reference = info.image.reference();
  record.memory = info.limits.memory().bytes();
  record.cpus = std::bit_cast<std::uint64_t>(info.limits.cpus());
  record.pids = info.limits.pids();
  record.open_files = info.limits.open_files();
  record.disk = info.limits.disk().bytes();
  record.inodes = info.limits.inodes();
  record.writable_root = info.writable_root;
  record.created_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(info.created.time_since_epoch()).count();
  return record;
}

std::optional<TemplateInfo> info_of(const TemplateRecord& record, const std::string& id) {
  auto image = image_of(record.image_kind, record.image_reference);
  if (record.version != 1 || record.id != id || !image || !record.digest.starts_with("sha256:") || record.digest.size() != 71)
    return std::nullopt;
  TemplateInfo info;
  info.id = record.id;
  info.label = record.label;
  info.digest = record.digest;
  info.size = ByteCount(record.size);
  info.image = *std::move(image);
  info.limits.memory(ByteCount(record.memory)).cpus(std::bit_cast<double>(record.cpus));
  info.limits.pids(static_cast<std::uint32_t>(record.pids)).open_files(static_cast<std::uint32_t>(record.open_files));
  info.limits.disk(ByteCount(record.disk)).inodes(record.inodes);
  info.writable_root = record.writable_root;
  info.created = std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(record.created_ns)));
  return info;
}

Result<void> write_all(int fd, std::string_view bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error::from_errno(errno, "image.write", what);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

struct Decompressor {
  Decompressor() : context(::ZSTD_createDCtx()) {}
  ~Decompressor() { ::ZSTD_freeDCtx(context); }
  Decompressor(const Decompressor&) = delete;
  ZSTD_DCtx* context;
};

struct Compressor {
  Compressor() : context(::ZSTD_createCCtx()) {
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, kCompression);
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  }
  ~Compressor() { ::ZSTD_freeCCtx(context); }
  Compressor(const Compressor&) = delete;
  ZSTD_CCtx* context;
};

}  // namespace

Result<void> ImageStore::Impl::unpack_template(const TemplateInfo& info, int tree) {
  const UniqueFd fd(::openat(templates.get(), (info.id + ".tar.zst").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    if (errno == ENOENT) return Error(ErrorCode::corrupt, "template " + info.id + ": its archive is missing");
    return about(info.id, errno);
  }
  Decompressor zstd;
  Sha256 hash;
  std::vector<std::byte> packed(::ZSTD_DStreamInSize());
  ZSTD_inBuffer in{packed.data(), 0, 0};
  std::size_t hint = 1;
  const Source source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    while (out.pos == 0) {
      if (in.pos == in.size) {
        SANDBOX_TRY(in.size, read_some(fd.get(), packed, info.id));
        in.pos = 0;
        if (in.size == 0) {
          if (hint != 0) return Error(ErrorCode::corrupt, "template " + info.id + ": its archive is cut short");
          break;
        }
      }
      hint = ::ZSTD_decompressStream(zstd.context, &out, &in);
      if (::ZSTD_isError(hint)) return Error(ErrorCode::corrupt, "template " + info.id + ": " + ::ZSTD_getErrorName(hint));
    }
    hash.add(buffer.first(out.pos));
    return out.pos;
  };
  UnpackOptions how;
  how.limits.max_ratio = UINT64_MAX;  // our own archive of a quota-limited tree
  how.overlay_whiteouts = true;
  how.name = "template " + info.id;
  how.on_progress = options.on_progress;
  if (auto unpacked = unpack(source, tree, how); !unpacked) {
    Error error = std::move(unpacked).error();
    if (error.code() != ErrorCode::invalid_argument) return error;
    error.ignore("an archive of ours that breaks the rules is a damaged one");
    return Error(ErrorCode::corrupt, error.message()).with_operation("image.unpack");
  }
  std::vector<std::byte> rest(64 << 10);
  for (;;) {
    SANDBOX_TRY(const std::size_t got, source(rest));
    if (got == 0) break;
  }
  if ("sha256:" + hash.finish() != info.digest)
    return Error(ErrorCode::corrupt, "template " + info.id + ": content does not match its digest").with_operation("image.unpack");
  return {};
}

Result<TemplateInfo> ImageStore::save_template(const TemplateDraft& draft) {
  if (draft.label.size() > kMaxLabel) return Error(ErrorCode::invalid_argument, "template label longer than 256 bytes");
  if (core::escape_control(draft.label) != draft.label) return Error(ErrorCode::invalid_argument, "template label with control bytes");
  TemplateInfo info;
  info.label = draft.label;
  info.limits = draft.limits;
  info.writable_root = draft.writable_root;
  info.image = draft.image;
  // A sandbox made from a template holds only what changed since: the result is whole, not a chain of templates.
  std::vector<PackLevel> levels{{draft.directory, draft.first_id}};
  std::shared_ptr<void> parent_pin;
  UniqueFd parent_layer;
  std::string base;
  if (draft.image.kind() == Image::Kind::template_id) {
    SANDBOX_TRY(KnownTemplate parent, impl_->read_record(draft.image.reference()));
    info.image = std::move(parent.info.image);
    base = std::move(parent.base);
    SANDBOX_TRY(ResolvedImage resolved, resolve(draft.image));
    parent_pin = std::move(resolved.pin);
    parent_layer = UniqueFd(::open(resolved.scratch_layer.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent_layer) return about(resolved.scratch_layer, errno);
    levels.push_back({parent_layer.get(), 0});
  }

  if (std::string known = impl_->base_of(*this, info.image); !known.empty()) base = std::move(known);

  SANDBOX_TRY(Work place, Work::make(impl_->root.get(), impl_->work.get()));
  const UniqueFd archive(::openat(place.fd(), "archive", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!archive) return Error::from_errno(errno, "image.save");
  Compressor zstd;
  Sha256 hash;
  std::vector<char> packed(::ZSTD_CStreamOutSize());
  std::uint64_t size = 0;
  const auto compress = [&](ByteView bytes, ZSTD_EndDirective mode) -> Result<void> {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (;;) {
      ZSTD_outBuffer out{packed.data(), packed.size(), 0};
      const std::size_t left = ::ZSTD_compressStream2(zstd.context, &out, &in, mode);
      if (::ZSTD_isError(left)) return Error(ErrorCode::internal, std::string("zstd: ") + ::ZSTD_getErrorName(left)).with_operation("image.save");
      size += out.pos;
      SANDBOX_CHECK(write_all(archive.get(), {packed.data(), out.pos}, "template archive"));
      if (mode == ZSTD_e_continue ? in.pos == in.size : left == 0) return {};
    }
  };
  // What lies underneath is part of the content: the same files over another image are another template.
  const std::string comment = "sandbox template 1 image=" + std::to_string(static_cast<int>(info.image.kind())) + ":" +
                              info.image.reference() + " writable_root=" + (info.writable_root ? "1" : "0");
  SANDBOX_CHECK(pack(levels, comment, [&](ByteView bytes) -> Result<void> {
    hash.add(bytes);
    return compress(bytes, ZSTD_e_continue);
  }));
  SANDBOX_CHECK(compress({}, ZSTD_e_end));
  if (::fsync(archive.get()) != 0) return Error::from_errno(errno, "image.sync");

  SANDBOX_SYNC_POINT("template.archive_written");
  const std::string digest = hash.finish();
  info.digest = "sha256:" + digest;
  info.id = "tpl-" + digest.substr(0, 16);
  info.size = ByteCount(size);
  info.created = std::chrono::system_clock::now();

  SANDBOX_TRY(const StoreLock lock, StoreLock::take(impl_->root.get()));
  auto existing = impl_->read_record(info.id);
  if (existing) {
    if (existing->info.digest != info.digest)
      return Error(ErrorCode::already_exists, "another template has the id " + info.id).with_operation("image.save");
    existing->info.label = info.label;
    info = std::move(existing->info);
    if (base.empty()) base = std::move(existing->base);
  } else {
    existing.ignore("there is none yet, or none that can be read: it is written now");
  }
  if (::renameat(place.fd(), "archive", impl_->templates.get(), (info.id + ".tar.zst").c_str()) != 0 ||
      ::fsync(impl_->templates.get()) != 0)
    return Error::from_errno(errno, "image.save", info.id);
  SANDBOX_SYNC_POINT("template.archive_renamed");
  TemplateRecord whole = record_of(info);
  whole.base = std::move(base);
  const std::string body = protocol::encode(whole);
  Sha256 check;
  check.add(as_bytes(body));
  const std::string record = check.finish() + "\n" + body;
  const UniqueFd meta(::openat(place.fd(), "meta", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!meta) return Error::from_errno(errno, "image.save", info.id);
  SANDBOX_CHECK(write_all(meta.get(), record, "template record"));
  SANDBOX_SYNC_POINT("template.record_written");
  // From this rename on the template exists.
  if (::fsync(meta.get()) != 0 || ::renameat(place.fd(), "meta", impl_->templates.get(), (info.id + ".meta").c_str()) != 0 ||
      ::fsync(impl_->templates.get()) != 0)
    return Error::from_errno(errno, "image.save", info.id);
  SANDBOX_SYNC_POINT("template.saved");
  return info;
}

Result<KnownTemplate> ImageStore::Impl::read_record(const std::string& id) const {
  if (!is_template_id(id)) return Error(ErrorCode::not_found, "no template \"" + core::escape_control(id) + "\"").with_operation("image.template");
  auto text = os::beneath::read_file(templates.get(), id + ".meta", kMaxRecord);
  if (!text) {
    if (text.error().code() != ErrorCode::not_found) return std::move(text).error();
    text.ignore("said better below");
    return Error(ErrorCode::not_found, "no template " + id).with_operation("image.template");
  }
  const Error damaged = Error(ErrorCode::corrupt, "the record of template " + id + " is damaged").with_operation("image.template");
  damaged.ignore("made in advance");
  if (text->size() < 65 || (*text)[64] != '\n') return damaged;
  const std::string_view body = std::string_view(*text).substr(65);
  Sha256 check;
  check.add(as_bytes(body));
  if (check.finish() != text->substr(0, 64)) return damaged;
  auto record = protocol::decode<TemplateRecord>(as_bytes(body));
  if (!record) {
    record.ignore("said better by its caller");
    return damaged;
  }
  if (auto info = info_of(*record, id)) return KnownTemplate{*std::move(info), std::move(record->base)};
  return damaged;
}

/// The layer of an archive that this process has resolved before, which saving a sandbox on it implies; otherwise "".
std::string ImageStore::Impl::base_of(const ImageStore& store, const Image& image) {
  if (image.kind() != Image::Kind::tar) return {};
  const auto identity = store.identity(image);
  if (!identity) {
    identity.error().ignore("the archive is gone; its layer is used while it is used");
    return {};
  }
  std::lock_guard lock(mutex);
  const auto found = digests.find(*identity);
  return found == digests.end() ? std::string() : found->second;
}

Result<std::vector<TemplateInfo>> ImageStore::templates() const {
  SANDBOX_TRY(const std::vector<std::string> names, os::beneath::list(impl_->templates.get(), "."));
  std::vector<TemplateInfo> all;
  for (const std::string& name : names) {
    if (!name.ends_with(".meta")) continue;
    auto known = impl_->read_record(name.substr(0, name.size() - 5));
    if (known) all.push_back(std::move(known->info));
    else known.ignore("find_template tells about damaged ones");
  }
  std::sort(all.begin(), all.end(), [](const TemplateInfo& a, const TemplateInfo& b) {
    return a.created != b.created ? a.created < b.created : a.id < b.id;
  });
  return all;
}

Result<TemplateInfo> ImageStore::find_template(const std::string& id) const {
  SANDBOX_TRY(KnownTemplate known, impl_->read_record(id));
  return std::move(known.info);
}

Result<void> ImageStore::remove_template(const std::string& id) {
  if (!is_template_id(id)) return Error(ErrorCode::not_found, "no template \"" + core::escape_control(id) + "\"").with_operation("image.template");
  SANDBOX_TRY(Work place, Work::make(impl_->root.get(), impl_->work.get()));
  SANDBOX_TRY(const StoreLock lock, StoreLock::take(impl_->root.get()));
  auto known = impl_->read_record(id);
  if (known) {
    const std::string digest = known->info.digest.substr(7);
    const UniqueFd layer(::openat(impl_->layers.get(), digest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (layer) {
      if (::flock(layer.get(), LOCK_EX | LOCK_NB) != 0)
        return Error(ErrorCode::failed_precondition, "template " + id + " is in use").with_operation("image.template");
      if (::renameat(impl_->layers.get(), digest.c_str(), place.fd(), "layer") != 0) return Error::from_errno(errno, "image.remove", id);
    }
  } else if (known.error().code() != ErrorCode::corrupt) {
    return std::move(known).error();
  } else {
    known.ignore("a damaged template can be removed");
  }
  if (::unlinkat(impl_->templates.get(), (id + ".meta").c_str(), 0) != 0) return Error::from_errno(errno, "image.remove", id);
  if (::unlinkat(impl_->templates.get(), (id + ".tar.zst").c_str(), 0) != 0 && errno != ENOENT)
    return Error::from_errno(errno, "image.remove", id);
  if (::fsync(impl_->templates.get()) != 0) return Error::from_errno(errno, "image.sync");
  return {};
}

}  // namespace sandbox::image
