#include "os/process.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/memfd.hpp"

namespace {

using namespace sandbox;
using namespace std::chrono_literals;

core::UniqueFd program(const char* path) { return core::UniqueFd(::open(path, O_RDONLY | O_CLOEXEC)); }
core::TimePoint in(std::chrono::milliseconds time) { return core::SteadyClock::now() + time; }

TEST(PidfdProcess, PassesDescriptorsAndTellsTheExitCode) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  core::UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  const int passed[] = {write_end.get()};
  auto process = os::PidfdProcess::spawn(program("/bin/sh").get(), {"sh", "-c", "echo hi >&3; exit 7"}, passed).value();
  const int status = process.wait(in(10s)).value();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  char text[8] = {};
  EXPECT_EQ(::read(read_end.get(), text, sizeof text), 3);
  EXPECT_STREQ(text, "hi\n");
}

TEST(PidfdProcess, IsKilledByHandleAndByItsDestructor) {
  auto process = os::PidfdProcess::spawn(program("/bin/sleep").get(), {"sleep", "60"}, {}).value();
  auto early = process.wait(in(1ms));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code(), ErrorCode::deadline_exceeded);
  ASSERT_TRUE(process.kill(SIGTERM));
  EXPECT_EQ(WTERMSIG(process.wait(in(10s)).value()), SIGTERM);
  int pid;
  {
    auto other = os::PidfdProcess::spawn(program("/bin/sleep").get(), {"sleep", "60"}, {}).value();
    pid = other.pid();
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(SealedProgram, RunsButCannotBeChangedOrRead) {
  auto memory = os::sealed_program(program("/bin/sh").get(), "test").value();
  EXPECT_EQ(::pwrite(memory.get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(memory.get(), 0), -1);
  struct stat info {};
  ASSERT_EQ(::fstat(memory.get(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0111u);
  auto process = os::PidfdProcess::spawn(memory.get(), {"sh", "-c", "exit 3"}, {}).value();
  EXPECT_EQ(WEXITSTATUS(process.wait(in(10s)).value()), 3);
}

}  // namespace
