#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "image/store.hpp"

namespace sandbox::image::testing {

/// Writes an archive member by member, hostile ones included.
class TarBuilder {
 public:
  enum class Packing { plain, gzip, zstd };
  explicit TarBuilder(const std::string& path, Packing packing = Packing::plain) : archive_(::archive_write_new()) {
    ::archive_write_set_format_pax(archive_);
    if (packing == Packing::gzip) ::archive_write_add_filter_gzip(archive_);
    if (packing == Packing::zstd) ::archive_write_add_filter_zstd(archive_);
    if (::archive_write_open_filename(archive_, path.c_str()) != ARCHIVE_OK) std::abort();
  }
  ~TarBuilder() { close(); }
  void close() {
    if (archive_ != nullptr) ::archive_write_free(archive_);
    archive_ = nullptr;
  }
  TarBuilder& file(const std::string& name, const std::string& content, unsigned mode = 0644, int uid = 0) {
    return add(name, AE_IFREG, mode, content, uid);
  }
  TarBuilder& directory(const std::string& name, unsigned mode = 0755) { return add(name, AE_IFDIR, mode, {}, 0); }
  TarBuilder& symlink(const std::string& name, const std::string& target) { return add(name, AE_IFLNK, 0777, target, 0); }
  TarBuilder& device(const std::string& name) { return add(name, AE_IFCHR, 0666, {}, 0); }
  TarBuilder& fifo(const std::string& name) { return add(name, AE_IFIFO, 0666, {}, 0); }
  TarBuilder& hardlink(const std::string& name, const std::string& target) {
    archive_entry* entry = ::archive_entry_new();
    ::archive_entry_set_pathname(entry, name.c_str());
    ::archive_entry_set_filetype(entry, AE_IFREG);
    ::archive_entry_set_hardlink(entry, target.c_str());
    ::archive_write_header(archive_, entry);
    ::archive_entry_free(entry);
    return *this;
  }

 private:
  TarBuilder& add(const std::string& name, unsigned type, unsigned mode, const std::string& content, int uid) {
    archive_entry* entry = ::archive_entry_new();
    ::archive_entry_set_pathname(entry, name.c_str());
    ::archive_entry_set_filetype(entry, type);
    ::archive_entry_set_perm(entry, mode);
    ::archive_entry_set_uid(entry, uid);
    ::archive_entry_set_mtime(entry, 1'600'000'000, 123'456'789);
    if (type == AE_IFLNK) ::archive_entry_set_symlink(entry, content.c_str());
    if (type == AE_IFREG) ::archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    EXPECT_GE(::archive_write_header(archive_, entry), ARCHIVE_WARN) << ::archive_error_string(archive_);
    if (type == AE_IFREG) ::archive_write_data(archive_, content.data(), content.size());
    ::archive_entry_free(entry);
    return *this;
  }
  archive* archive_;
};

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/sandbox-image-test-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    directory_ = path;
    open();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(directory_);
  }
  void open(UnpackLimits limits = UnpackLimits()) {
    store_.reset();
    StoreOptions options;
    options.directory = directory_ + "/state/deep";
    options.limits = limits;
    options.now = [this] { return std::chrono::system_clock::now() + later_; };
    auto store = ImageStore::open(std::move(options));
    ASSERT_TRUE(store) << store.error().to_string();
    store_ = *std::move(store);
  }
  /// As another process has it: with locks of its own.
  Result<std::unique_ptr<ImageStore>> another_store() const {
    StoreOptions options;
    options.directory = directory_ + "/state/deep";
    return ImageStore::open(std::move(options));
  }
  std::string at(const std::string& name) const { return directory_ + "/" + name; }
  std::string state(const std::string& name) const { return directory_ + "/state/deep/" + name; }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  static void write(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  static struct stat status(const std::string& path) {
    struct stat result {};
    EXPECT_EQ(::lstat(path.c_str(), &result), 0) << path;
    return result;
  }
  static std::size_t count(const std::string& path) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
  }

  std::string directory_;
  std::chrono::seconds later_{0};   ///< how far ahead the store's clock is
  std::unique_ptr<ImageStore> store_;
};

}  // namespace sandbox::image::testing
