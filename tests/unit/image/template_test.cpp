#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>

#include "unit/image/support.hpp"

namespace sandbox::image {
namespace {

using testing::StoreTest;

class TemplateTest : public StoreTest {
 protected:
  /// Saves the directory `name` as a sandbox's writable part.
  Result<TemplateInfo> save(const std::string& name, const std::string& label = "label", Image image = Image::host(),
                            std::uint32_t first_id = 0) {
    const int fd = ::open(at(name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ImageStore::TemplateDraft draft;
    draft.label = label;
    draft.image = std::move(image);
    draft.directory = fd;
    draft.first_id = first_id;
    auto saved = store_->save_template(draft);
    ::close(fd);
    return saved;
  }
  std::string layer_of(const TemplateInfo& info) {
    auto resolved = store_->resolve(Image::from_template(info.id));
    EXPECT_TRUE(resolved) << resolved.error().to_string();
    return resolved ? resolved->scratch_layer : std::string();
  }
};

TEST_F(TemplateTest, ComesBackAsItWas) {
  write(at("w/root/project/main.py"), "print('hello')");
  write(at("w/root/empty"), "");
  write(at("w/root/name with\nnewline and \xff byte"), "odd");
  write(at("w/root/" + std::string(200, 'l') + "/" + std::string(200, 'm')), "long");
  write(at("w/tmp/scratch"), std::string(3 << 20, 't'));
  std::filesystem::create_directories(at("w/shm"));
  std::filesystem::create_symlink("../etc/passwd", at("w/root/relative"));
  std::filesystem::create_symlink("/etc/passwd", at("w/root/absolute"));
  std::filesystem::create_symlink(std::string(150, 'x'), at("w/root/long-link"));
  std::filesystem::create_hard_link(at("w/root/project/main.py"), at("w/root/linked"));
  std::filesystem::create_hard_link(at("w/root/absolute"), at("w/root/linked-link"));
  ::chmod(at("w/root/project/main.py").c_str(), 0741);
  ::chmod(at("w/root/project").c_str(), 01770);
  ::setxattr(at("w/root/empty").c_str(), "user.note", "a=b\nc", 5, 0);
  const timespec times[2] = {{1, 5}, {1'500'000'000, 42}};
  ::utimensat(AT_FDCWD, at("w/root/project/main.py").c_str(), times, 0);
  {
    const int fd = ::open(at("w/root/sparse").c_str(), O_WRONLY | O_CREAT, 0644);
    ASSERT_EQ(::pwrite(fd, "begin", 5, 0), 5);
    ASSERT_EQ(::pwrite(fd, "middle", 6, off_t{1} << 30), 6);
    ASSERT_EQ(::ftruncate(fd, (off_t{3} << 30) + 7), 0);
    ::close(fd);
  }
  auto saved = save("w");
  ASSERT_TRUE(saved) << saved.error().to_string();
  EXPECT_EQ(saved->id, "tpl-" + saved->digest.substr(7, 16));
  EXPECT_LT(saved->size.bytes(), 100'000u) << "compressed, holes left out";

  const std::string layer = layer_of(*saved);
  EXPECT_EQ(read(layer + "/root/project/main.py"), "print('hello')");
  EXPECT_EQ(read(layer + "/root/name with\nnewline and \xff byte"), "odd");
  EXPECT_EQ(read(layer + "/root/" + std::string(200, 'l') + "/" + std::string(200, 'm')), "long");
  EXPECT_EQ(read(layer + "/tmp/scratch"), std::string(3 << 20, 't'));
  EXPECT_TRUE(std::filesystem::is_directory(layer + "/shm"));
  EXPECT_EQ(std::filesystem::read_symlink(layer + "/root/relative"), "../etc/passwd");
  EXPECT_EQ(std::filesystem::read_symlink(layer + "/root/absolute"), "/etc/passwd");
  EXPECT_EQ(std::filesystem::read_symlink(layer + "/root/linked-link"), "/etc/passwd");
  EXPECT_EQ(std::filesystem::read_symlink(layer + "/root/long-link"), std::string(150, 'x'));
  EXPECT_EQ(status(layer + "/root/linked").st_ino, status(layer + "/root/project/main.py").st_ino);
  EXPECT_EQ(status(layer + "/root/project/main.py").st_mode & 07777, 0741u);
  EXPECT_EQ(status(layer + "/root/project").st_mode & 07777, 01770u);
  EXPECT_EQ(status(layer + "/root/project/main.py").st_mtim.tv_sec, 1'500'000'000);
  EXPECT_EQ(status(layer + "/root/project/main.py").st_mtim.tv_nsec, 42);
  char note[16] = {};
  EXPECT_EQ(::getxattr((layer + "/root/empty").c_str(), "user.note", note, sizeof note), 5);
  EXPECT_STREQ(note, "a=b\nc");
  const struct stat sparse = status(layer + "/root/sparse");
  EXPECT_EQ(sparse.st_size, (off_t{3} << 30) + 7);
  EXPECT_LT(sparse.st_blocks, 1000);
  const int fd = ::open((layer + "/root/sparse").c_str(), O_RDONLY);
  char middle[6];
  ASSERT_EQ(::pread(fd, middle, 6, off_t{1} << 30), 6);
  EXPECT_EQ(std::string(middle, 6), "middle");
  ::close(fd);
}

TEST_F(TemplateTest, TheSameContentIsTheSameTemplate) {
  for (const char* name : {"a", "b"}) {
    write(at(std::string(name) + "/root/1"), "1");
    write(at(std::string(name) + "/root/2"), "2");
    const timespec times[2] = {{7, 0}, {7, 0}};
    for (const char* file : {"/root/1", "/root/2", "/root"}) ::utimensat(AT_FDCWD, at(name + std::string(file)).c_str(), times, 0);
  }
  auto first = save("a", "one"), second = save("b", "two");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->id, second->id);
  EXPECT_EQ(first->created, second->created);
  ASSERT_EQ(store_->templates()->size(), 1u);
  EXPECT_EQ(store_->templates()->at(0).label, "two");
  auto other = save("b", "three", Image::directory("/elsewhere"));
  ASSERT_TRUE(other);
  EXPECT_NE(other->id, first->id) << "what lies underneath is part of it";
}

TEST_F(TemplateTest, OwnersAreStoredAsInside) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs chown";
  write(at("w/root/inside"), "x");
  write(at("w/root/stranger"), "x");
  ASSERT_EQ(::chown(at("w/root").c_str(), 300000, 300000), 0);
  ASSERT_EQ(::chown(at("w/root/inside").c_str(), 300000 + 1000, 300000 + 65535), 0);
  ASSERT_EQ(::chown(at("w/root/stranger").c_str(), 5, 300000 + 65536), 0);
  auto saved = save("w", "label", Image::host(), 300000);
  ASSERT_TRUE(saved);
  const std::string layer = layer_of(*saved);
  EXPECT_EQ(status(layer + "/root").st_uid, 0u);
  EXPECT_EQ(status(layer + "/root/inside").st_uid, 1000u);
  EXPECT_EQ(status(layer + "/root/inside").st_gid, 65535u);
  EXPECT_EQ(status(layer + "/root/stranger").st_uid, 65534u);
  EXPECT_EQ(status(layer + "/root/stranger").st_gid, 65534u);
}

TEST_F(TemplateTest, HostileContentIsNotFollowed) {
  write(at("secret"), "secret");
  std::filesystem::create_directories(at("w/root"));
  std::filesystem::create_symlink(at(""), at("w/root/out"));
  std::filesystem::create_symlink(at("secret"), at("w/tmp"));
  ASSERT_EQ(::mkfifo(at("w/root/fifo").c_str(), 0666), 0);
  write(at("w/other/ignored"), "not one of the four");
  auto saved = save("w");
  ASSERT_TRUE(saved) << saved.error().to_string();
  const std::string layer = layer_of(*saved);
  EXPECT_TRUE(std::filesystem::is_symlink(layer + "/root/out"));
  EXPECT_EQ(count(layer + "/root"), 1u);
  EXPECT_EQ(count(layer), 1u);
}

TEST_F(TemplateTest, TooDeepIsAnErrorAndNotACrash) {
  std::string path = at("w/root");
  std::filesystem::create_directories(path);
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 400; ++i) {
    ASSERT_EQ(::mkdirat(fd, "d", 0700), 0);
    const int next = ::openat(fd, "d", O_RDONLY | O_DIRECTORY);
    ::close(fd);
    fd = next;
  }
  ::close(fd);
  auto saved = save("w");
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(count(state("templates")), 0u);
  EXPECT_EQ(count(state("work")), 0u);
}

TEST_F(TemplateTest, WhiteoutsOfTheRootSurvive) {
  write(at("w/upper/etc/new"), "new");
  write(at("w/upper/etc/.wh.fake"), "a name that would lie");
  if (::mknod(at("w/upper/etc/hidden").c_str(), S_IFCHR, makedev(0, 0)) != 0) GTEST_SKIP() << "cannot make whiteouts here";
  std::filesystem::create_directories(at("w/upper/opt"));
  ::setxattr(at("w/upper/opt").c_str(), "user.overlay.opaque", "y", 1, 0);
  auto saved = save("w");
  ASSERT_TRUE(saved) << saved.error().to_string();
  const std::string layer = layer_of(*saved);
  EXPECT_EQ(read(layer + "/upper/etc/new"), "new");
  EXPECT_TRUE(S_ISCHR(status(layer + "/upper/etc/hidden").st_mode));
  EXPECT_EQ(status(layer + "/upper/etc/hidden").st_rdev, makedev(0, 0));
  EXPECT_EQ(count(layer + "/upper/etc"), 2u);
  char value = 0;
  EXPECT_EQ(::getxattr((layer + "/upper/opt").c_str(), "user.overlay.opaque", &value, 1), 1);
}

TEST_F(TemplateTest, ATemplateOfATemplateIsWhole) {
  write(at("w/root/kept"), "kept");
  write(at("w/root/changed"), "old");
  write(at("w/root/removed"), "removed");
  write(at("w/root/dir/inner"), "inner");
  write(at("w/root/emptied/inner"), "inner");
  auto parent = save("w");
  ASSERT_TRUE(parent);
  write(at("v/root/changed"), "new");
  write(at("v/root/dir/more"), "more");
  std::filesystem::create_directories(at("v/root/emptied"));
  ::setxattr(at("v/root/emptied").c_str(), "user.overlay.opaque", "y", 1, 0);
  if (::mknod(at("v/root/removed").c_str(), S_IFCHR, makedev(0, 0)) != 0) GTEST_SKIP() << "cannot make whiteouts here";
  auto child = save("v", "child", Image::from_template(parent->id));
  ASSERT_TRUE(child) << child.error().to_string();
  EXPECT_EQ(child->image, Image::host());
  const std::string layer = layer_of(*child);
  EXPECT_EQ(read(layer + "/root/kept"), "kept");
  EXPECT_EQ(read(layer + "/root/changed"), "new");
  EXPECT_FALSE(std::filesystem::exists(layer + "/root/removed"));
  EXPECT_EQ(count(layer + "/root/dir"), 2u);
  EXPECT_EQ(count(layer + "/root/emptied"), 0u);
  EXPECT_TRUE(store_->remove_template(parent->id)) << "the child does not need it";
  EXPECT_EQ(read(layer_of(*child) + "/root/kept"), "kept");
}

TEST_F(TemplateTest, SurvivesReopeningAndKeepsItsRecord) {
  write(at("w/root/x"), "x");
  const int fd = ::open(at("w").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ImageStore::TemplateDraft draft;
  draft.label = "über";
  draft.image = Image::tar("/images/a.tar");
  draft.limits.cpus(0.25).pids(17);
  draft.writable_root = true;
  draft.directory = fd;
  auto saved = store_->save_template(draft);
  ::close(fd);
  ASSERT_TRUE(saved) << saved.error().to_string();
  open();
  auto found = store_->find_template(saved->id);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->label, "über");
  EXPECT_EQ(found->image, Image::tar("/images/a.tar"));
  EXPECT_EQ(found->limits, draft.limits);
  EXPECT_TRUE(found->writable_root);
  EXPECT_EQ(found->digest, saved->digest);
  EXPECT_EQ(found->size, saved->size);
  EXPECT_EQ(found->created, saved->created);
}

TEST_F(TemplateTest, LabelsAreChecked) {
  std::filesystem::create_directories(at("w/root"));
  EXPECT_EQ(save("w", std::string(257, 'x')).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(save("w", "two\nlines").error().code(), ErrorCode::invalid_argument);
}

TEST_F(TemplateTest, DamageIsNoticed) {
  write(at("w/root/x"), std::string(100000, 'x') + "end");
  auto saved = save("w");
  ASSERT_TRUE(saved);
  const std::string archive = state("templates/" + saved->id + ".tar.zst"), record = state("templates/" + saved->id + ".meta");
  const std::string good = read(archive), good_record = read(record);
  for (const std::size_t at_byte : {std::size_t{0}, std::size_t{6}, good.size() / 2, good.size() - 1}) {
    std::string bad = good;
    bad[at_byte] = static_cast<char>(bad[at_byte] ^ 0x20);
    write(archive, bad);
    auto resolved = store_->resolve(Image::from_template(saved->id));
    ASSERT_FALSE(resolved) << at_byte;
    EXPECT_EQ(resolved.error().code(), ErrorCode::corrupt) << resolved.error().to_string();
  }
  write(archive, good.substr(0, good.size() - 5));
  EXPECT_EQ(store_->resolve(Image::from_template(saved->id)).error().code(), ErrorCode::corrupt);
  std::filesystem::remove(archive);
  EXPECT_EQ(store_->resolve(Image::from_template(saved->id)).error().code(), ErrorCode::corrupt);
  EXPECT_EQ(count(state("layers")), 0u);
  EXPECT_EQ(count(state("work")), 0u);

  for (std::size_t i = 0; i < good_record.size(); i += 7) {
    std::string bad = good_record;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    write(record, bad);
    EXPECT_EQ(store_->find_template(saved->id).error().code(), ErrorCode::corrupt) << i;
  }
  EXPECT_TRUE(store_->templates()->empty());
  EXPECT_TRUE(store_->remove_template(saved->id)) << "a damaged one can be removed";
  EXPECT_EQ(store_->remove_template(saved->id).error().code(), ErrorCode::not_found);
}

TEST_F(TemplateTest, InUseMeansItStays) {
  write(at("w/root/x"), "x");
  auto saved = save("w");
  ASSERT_TRUE(saved);
  {
    auto resolved = store_->resolve(Image::from_template(saved->id));
    ASSERT_TRUE(resolved);
    EXPECT_EQ(store_->remove_template(saved->id).error().code(), ErrorCode::failed_precondition);
    EXPECT_EQ(read(resolved->scratch_layer + "/root/x"), "x");
  }
  EXPECT_TRUE(store_->remove_template(saved->id));
  EXPECT_EQ(count(state("layers")), 0u);
  EXPECT_EQ(count(state("templates")), 0u);
}

// The saving process is killed at many moments: a template is there whole or not at all, and nothing else stays.
TEST_F(TemplateTest, AKillInTheMiddleOfASaveLeavesNothingHalf) {
  for (int i = 0; i < 60; ++i) write(at("w/root/f" + std::to_string(i)), std::string(20000, static_cast<char>('a' + i % 26)) + std::to_string(i));
  int complete = 0;
  for (int round = 0; round < 25; ++round) {
    store_.reset();
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = another_store();
      ImageStore::TemplateDraft draft;
      draft.directory = ::open(at("w").c_str(), O_RDONLY | O_DIRECTORY);
      if (!store || !(*store)->save_template(draft)) ::_exit(1);
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(round * 400));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    open();
    auto all = store_->templates();
    ASSERT_TRUE(all);
    ASSERT_LE(all->size(), 1u);
    EXPECT_EQ(count(state("work")), 0u);
    EXPECT_EQ(count(state("templates")), 2 * all->size());
    for (const TemplateInfo& info : *all) {
      ++complete;
      EXPECT_EQ(count(layer_of(info) + "/root"), 60u);
      EXPECT_TRUE(store_->remove_template(info.id));
    }
  }
  RecordProperty("saved_before_the_kill", complete);
}

}  // namespace
}  // namespace sandbox::image
