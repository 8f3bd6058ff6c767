#include <sandbox/asio.hpp>

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include "agent_box.hpp"
#include "support/eventually.hpp"

namespace sandbox::api::test {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using Async = Boxes;

TEST_F(Async, UseFutureGetsAnExecResult) {
  auto result = get(box.process().async_exec("echo hi", asio::use_future));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->stdout_text(), "hi\n");
}

TEST_F(Async, ManyAtOnceRunInParallel) {
  std::vector<std::future<Result<ExecResult>>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(box.process().async_exec(agent->meeting(i, 10), asio::use_future));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(get(std::move(futures[static_cast<std::size_t>(i)]))->stdout_text(), std::to_string(i) + "\n");
}

TEST_F(Async, AnErrorIsAResult) {
  SANDBOX_EXPECT_CODE(get(box.process().async_exec("", asio::use_future)), ErrorCode::invalid_argument);
  SANDBOX_EXPECT_CODE(get(box.process().async_exec(Command("/no/such").args("x"), asio::use_future)), ErrorCode::not_found);
  SANDBOX_EXPECT_CODE(get(box.fs().async_read("relative", asio::use_future)), ErrorCode::invalid_argument);
}

TEST_F(Async, CallbacksRunOnTheirExecutor) {
  asio::io_context mine;
  std::thread::id where;
  box.fs().async_stat(agent->directory(), asio::bind_executor(mine, [&](Result<FileInfo> info) {
    EXPECT_TRUE(info && info->type == FileType::directory);
    where = std::this_thread::get_id();
  }));
  EXPECT_GE(mine.run_for(20s), 1u);  // the outstanding operation keeps run() going
  EXPECT_EQ(where, std::this_thread::get_id());
}

TEST_F(Async, WithoutAnExecutorTheReactorRunsThemAndNothingMayBlockThere) {
  std::promise<ErrorCode> code;
  box.fs().async_stat(agent->directory(), [&](Result<FileInfo> info) {
    info.ignore("test");
    auto nested = box.fs().stat(agent->directory());
    code.set_value(nested ? ErrorCode::internal : nested.error().code());
  });
  EXPECT_EQ(get(code.get_future()), ErrorCode::failed_precondition);
}

asio::awaitable<void> story(Sandbox& box, std::string directory) {
  const std::string path = directory + "/file";
  auto written = co_await box.fs().async_write(path, Bytes(100000, std::byte{'z'}), asio::use_awaitable);
  SANDBOX_EXPECT_OK(std::move(written));
  auto content = co_await box.fs().async_read(path, asio::use_awaitable);
  EXPECT_TRUE(content && content->size() == 100000);
  auto set = co_await box.env().async_set("WHO", "me", asio::use_awaitable);
  SANDBOX_EXPECT_OK(std::move(set));
  auto who = co_await box.env().async_get("WHO", asio::use_awaitable);
  EXPECT_TRUE(who && *who && **who == "me");
  auto spawned = co_await box.process().async_spawn(Command("cat").open_stdin(), asio::use_awaitable);
  if (!spawned) {
    ADD_FAILURE() << spawned.error().to_string();
    co_return;
  }
  RunningProcess process = *std::move(spawned);
  Bytes text(300000, std::byte{'q'});
  auto sent = co_await process.async_write(std::move(text), asio::use_awaitable);
  SANDBOX_EXPECT_OK(std::move(sent));
  SANDBOX_EXPECT_OK(process.close_stdin());
  std::size_t got = 0;
  for (;;) {
    auto chunk = co_await process.async_read(asio::use_awaitable);
    if (!chunk) ADD_FAILURE() << chunk.error().to_string();
    if (!chunk || !*chunk) break;
    got += (*chunk)->bytes.size();
  }
  EXPECT_EQ(got, 300000u);
  auto status = co_await process.async_wait(asio::use_awaitable);
  EXPECT_TRUE(status && status->ok());
  auto list = co_await box.fs().async_list(directory, asio::use_awaitable);
  EXPECT_TRUE(list && list->size() == 1);
  auto removed = co_await box.fs().async_remove_all(path, asio::use_awaitable);
  SANDBOX_EXPECT_OK(std::move(removed));
}

TEST_F(Async, CoroutinesTellAStory) {
  asio::io_context mine;
  auto done = asio::co_spawn(mine, story(box, agent->directory()), asio::use_future);
  mine.run_for(30s);
  get(std::move(done));
}

TEST_F(Async, AWriteMayOutgrowEveryBuffer) {
  auto process = box.process().spawn(Command("sleep 0.2; wc -c").open_stdin());
  ASSERT_TRUE(process);
  auto sent = get(process->async_write(Bytes(5 << 20), asio::use_future));
  SANDBOX_EXPECT_OK(std::move(sent));
  SANDBOX_EXPECT_OK(process->close_stdin());
  auto chunk = get(process->async_read(asio::use_future));
  ASSERT_TRUE(chunk && *chunk);
  EXPECT_EQ(std::stoul(std::string((*chunk)->text())), 5u << 20);
}

TEST_F(Async, CancellingAnExecKillsItsGroup) {
  asio::cancellation_signal cancel;
  std::promise<Result<ExecResult>> promise;
  box.process().async_exec(Command("echo $$ > pid; sleep 60").workdir(agent->directory()),
                           asio::bind_cancellation_slot(cancel.slot(), [&](Result<ExecResult> result) { promise.set_value(std::move(result)); }));
  std::string pid;
  ASSERT_TRUE(sandbox::testing::eventually([&] { return (pid = slurp(at("pid"))).ends_with('\n'); }));
  cancel.emit(asio::cancellation_type::terminal);
  auto result = get(promise.get_future());
  if (result) EXPECT_EQ(result->cause, ExitCause::cancelled);
  else EXPECT_EQ(result.error().code(), ErrorCode::cancelled);
  pid.pop_back();
  EXPECT_TRUE(sandbox::testing::eventually([&] { return !std::filesystem::exists("/proc/" + pid); }));
}

TEST_F(Async, ARaceWithATimerEndsBoth) {
  asio::io_context mine;
  auto race = [&]() -> asio::awaitable<std::size_t> {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer timer(co_await asio::this_coro::executor, 50ms);
    auto winner = co_await (box.process().async_exec("sleep 60", asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
    co_return winner.index();
  };
  auto done = asio::co_spawn(mine, race(), asio::use_future);
  mine.run_for(20s);
  get(std::move(done));  // that it ends at all is the point: the exec was cancelled
}

TEST_F(Async, AnAgentsDeathCompletesEverything) {
  auto exec = box.process().async_exec("sleep 60", asio::use_future);
  auto process = box.process().spawn("sleep 60");
  ASSERT_TRUE(process);
  auto read = process->async_read(asio::use_future);
  auto wait = process->async_wait(asio::use_future);
  ::kill(agent->agent_pid(), SIGKILL);
  SANDBOX_EXPECT_CODE(get(std::move(exec)), ErrorCode::unavailable);
  SANDBOX_EXPECT_CODE(get(std::move(read)), ErrorCode::unavailable);
  SANDBOX_EXPECT_CODE(get(std::move(wait)), ErrorCode::unavailable);
}

TEST_F(Async, DestroyingAHandleCancelsItsWaits) {
  std::future<Result<std::optional<OutputChunk>>> read;
  {
    auto process = box.process().spawn("sleep 60");
    ASSERT_TRUE(process);
    read = process->async_read(asio::use_future);
  }
  SANDBOX_EXPECT_CODE(get(std::move(read)), ErrorCode::cancelled);
}

TEST_F(Async, WhoGivesUpWaitingMayReadAgain) {
  auto process = box.process().spawn(Command("cat").open_stdin());
  ASSERT_TRUE(process);
  asio::cancellation_signal cancel;
  std::promise<Result<ExitStatus>> promise;
  process->async_wait(asio::bind_cancellation_slot(cancel.slot(), [&](Result<ExitStatus> result) { promise.set_value(std::move(result)); }));
  cancel.emit(asio::cancellation_type::terminal);
  SANDBOX_EXPECT_CODE(get(promise.get_future()), ErrorCode::cancelled);
  SANDBOX_EXPECT_OK(process->write("still there"));
  auto chunk = process->read_for(20s);
  ASSERT_TRUE(chunk) << chunk.error().to_string();
  ASSERT_TRUE(chunk->has_value());
  EXPECT_EQ((*chunk)->text(), "still there");
}

/// Remembers the answer and the thread that brought it.
struct Note {
  std::optional<Result<std::optional<std::string>>> answer;
  std::thread::id thread;
};
class NoteTarget final : public detail::Completion<std::optional<std::string>>::Target {
 public:
  NoteTarget(std::promise<Note>& note, bool anywhere) : note_(note), anywhere_(anywhere) {}
  void complete(Result<std::optional<std::string>> answer) override { note_.set_value({std::move(answer), std::this_thread::get_id()}); }
  bool completes_anywhere() const noexcept override { return anywhere_; }

 private:
  std::promise<Note>& note_;
  const bool anywhere_;
};

TEST_F(Async, AShortAnswerCompletesInsideTheCallWhereThatIsAllowed) {
  SANDBOX_EXPECT_OK(box.env().set("SHORT", "answer"));
  const auto ask = [&](bool anywhere) {
    std::promise<Note> promise;
    auto note = promise.get_future();
    detail::start_env_get(box.box(), "SHORT", detail::Completion<std::optional<std::string>>(std::make_unique<NoteTarget>(promise, anywhere)));
    auto noted = get(std::move(note));
    EXPECT_TRUE(*noted.answer && **noted.answer == "answer");
    return noted.thread == std::this_thread::get_id();
  };
  EXPECT_TRUE(testing::eventually([&] { return ask(true); }));  // as soon as one comes in time
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(ask(false));
}

TEST_F(Async, AWatchDeliversLater) {
  auto watch = box.fs().watch(agent->directory());
  ASSERT_TRUE(watch) << watch.error().to_string();
  auto event = watch->async_next(asio::use_future);
  spill(at("late"), "x");
  auto told = get(std::move(event));
  ASSERT_TRUE(told) << told.error().to_string();
  EXPECT_EQ(told->path, at("late"));
}

TEST_F(Async, ClosingCompletes) {
  SANDBOX_EXPECT_OK(get(box.async_close(asio::use_future)));
  EXPECT_TRUE(box.closed());
}

}  // namespace
}  // namespace sandbox::api::test
