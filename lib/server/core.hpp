#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sandbox/service.hpp>

#include "http/server.hpp"
#include "rest/rest.hpp"
#include "runtime/runtime_state.hpp"
#include "server/deadlines.hpp"
#include "server/leaves.hpp"
#include "server/quota.hpp"
#include "server/record.hpp"
#include "server/router.hpp"
#include "server/settings.hpp"

namespace sandbox::server {

using ExchangePtr = std::shared_ptr<http::Exchange>;

/// The service's state and its routes. Everything happens on the runtime's reactor thread; what blocks runs on workers and
/// comes back by a post. The files: core.cpp (requests, time, ends), creation.cpp, sandboxes.cpp, sessions.cpp, ports.cpp, templates.cpp,
/// pools.cpp, feed.cpp, resolve.cpp, recovery.cpp.
class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(Leaves leaves, Settings settings);
  ~Core();

  /// Before anything else; `runtime` must outlive the core's stop().
  void attach(std::shared_ptr<RuntimeState> runtime);
  /// Takes over what an earlier daemon left and what the store says about it. Blocks; not on the reactor thread.
  Result<void> recover();

  // -- on the reactor thread ----------------------------------------------------------------------------------------------
  void serve(ExchangePtr exchange);
  void on_runtime_event(const RuntimeEvent& event);
  /// Live from now on. Pools follow.
  void apply(Settings settings);
  Leaves& leaves() noexcept { return leaves_; }
  /// How many connections there are, for metrics.
  void count_connections(std::function<std::size_t()> count) { connections_ = std::move(count); }
  /// Starts the timers.
  void start();
  /// No new sandboxes or sessions from now on; ends timers. Sandboxes stay.
  void stop();
  /// After the last request: waits for the workers and lets go of every sandbox. Not on the reactor thread.
  Result<void> end(bool keep);

  /// Answers {"error":"text","code":…}.
  static void refuse(http::Exchange& exchange, unsigned status, ErrorCode code, std::string_view text, unsigned retry_after = 0);

 private:
  /// A template and the spec that makes a sandbox from it, which names it as the runtime's store does: there, equal contents
  /// are one.
  struct SavedTemplate {
    ServiceTemplate info;
    SandboxSpec spec;
    const std::string& content() const noexcept { return spec.image().reference(); }
  };


  // core.cpp
  void dispatch(const ExchangePtr& exchange, const Match& match, const Caller& caller);
  void answer(http::Exchange& exchange, unsigned status, std::string json);
  RecordPtr find(const std::string& id, const Caller& caller) const;
  /// By the box's own name, which has no node in it. Null: none that may be used.
  RecordPtr find_box(const std::string& box_id) const;
  /// find(), or answers 404.
  RecordPtr need(http::Exchange& exchange, const std::string& id, const Caller& caller) const;
  /// Runs `work` on a worker and `done` with its result on the reactor thread; a core that ended meanwhile is not called.
  template <class Work, class Done>
  bool offload(Work work, Done done);
  boost::asio::io_context& context() noexcept { return runtime_->reactor().context(); }
  /// What the service calls a box: with the name of the node it was made on, if that has one.
  static std::string public_id(const std::string& box_id, std::string_view node);
  void publish(std::string_view type, const Record& record, std::string data);
  void arm_reaper();
  void sweep();
  void warm_pools(std::vector<SandboxSpec> dropped);

  // creation.cpp
  /// A creation that was asked for properly.
  struct Wish {
    ExchangePtr exchange;
    Caller caller;
    rest::CreateBody body;
    std::shared_ptr<bool> cancelled = std::make_shared<bool>(false);  ///< its client has gone
    core::TimePoint until = core::TimePoint::max();                   ///< when it gives up waiting
  };
  struct Creation;
  void create(const ExchangePtr& exchange, const Caller& caller);
  void create_from(const ExchangePtr& exchange, const Caller& caller, const std::string& body);
  /// False, and nothing done, when there is no place.
  bool try_create(Wish& wish);
  void wait_for_place(Wish wish);
  void serve_waiting();
  /// Refuses those whose time is over at `now`.
  void end_waiting(core::TimePoint now);
  void created(Creation creation, Result<std::shared_ptr<driver::Box>> made);

  // sandboxes.cpp
  void list(http::Exchange& exchange, const Caller& caller);
  void get(http::Exchange& exchange, const std::string& id, const Caller& caller);
  void destroy_route(const ExchangePtr& exchange, const std::string& id, const Caller& caller);
  void stats(const ExchangePtr& exchange, const std::string& id, const Caller& caller);
  void answer_stats(const ExchangePtr& exchange, const RecordPtr& record, bool second_look);
  void freeze(const ExchangePtr& exchange, const std::string& id, const Caller& caller, bool pause);
  /// Takes the sandbox out of the registry and off the host. `done` on the reactor thread, when it is gone.
  void destroy(const RecordPtr& record, std::function<void(Result<void>)> done = {});
  /// Ends sessions and tunnels and forgets the id.
  void detach_everything(const RecordPtr& record);
  void lost(const RecordPtr& record, const std::string& reason);

  // resolve.cpp
  /// Errors: code and text are the answer's.
  Result<Resolved> resolve(const rest::CreateBody& body, const Caller& caller);
  Result<SandboxSpec> permitted(SandboxSpec spec, const Caller& caller);
  Result<void> change(SandboxSpec& spec, const rest::CreateBody& body) const;

  // sessions.cpp
  void session(const ExchangePtr& exchange, const std::string& id, const Caller& caller);
  void begin_session(const RecordPtr& record, std::shared_ptr<http::WebSocket> socket, bool v2);
  void session_over(const RecordPtr& record, SessionNumber number, SessionEnd how);
  void save_over_session(const std::weak_ptr<Record>& record, SessionNumber number, const std::string& id, const std::string& label);

  // ports.cpp
  void expose(const ExchangePtr& exchange, const Match& match, const Caller& caller);
  struct Exposing;
  void wait_listening(std::shared_ptr<Exposing> wait, core::Duration pause);
  void end_expose(Exposing& wait, Result<void> ready);
  Result<ExposedPort> open_tunnel(const RecordPtr& record, std::uint16_t port, std::uint16_t host_port);
  void close_tunnel(http::Exchange& exchange, const Match& match, const Caller& caller);
  void close_tunnels(Record& record);
  void list_ports(http::Exchange& exchange, const std::string& id, const Caller& caller);
  void connect_port(const ExchangePtr& exchange, const Match& match, const Caller& caller);
  void proxy_port(const ExchangePtr& exchange, const Match& match, const Caller& caller);
  /// A refused dial is tried again for `wait`.
  void dial(const RecordPtr& record, std::uint16_t port, std::chrono::milliseconds wait, std::function<void(Result<core::UniqueFd>)> done);

  // templates.cpp
  void save_template_route(const ExchangePtr& exchange, const Caller& caller);
  /// Errors of both: text and detail "status" are the answer's.
  Result<void> room_for_template(const std::string& identity, std::optional<std::uint32_t> most) const;
  void save_template(const RecordPtr& record, const std::string& identity, const std::string& label,
                     std::optional<std::uint32_t> most, std::function<void(Result<ServiceTemplate>)> done);
  void list_templates(http::Exchange& exchange, const Caller& caller);
  void get_template(http::Exchange& exchange, const std::string& id, const Caller& caller);
  void delete_template_route(http::Exchange& exchange, const std::string& id, const Caller& caller);
  void forget_template(const std::string& id);
  void drop_unused_content();
  void expire_templates();

  // pools.cpp
  void list_profiles(http::Exchange& exchange);
  std::vector<PoolInfo> pools() const;
  void list_pools(http::Exchange& exchange);
  void resize_pool(const ExchangePtr& exchange, const std::string& name);
  void set_pool(const ExchangePtr& exchange, const ProfileSettings& profile, std::uint32_t wanted, std::string failure);
  void flush_pool(const ExchangePtr& exchange, const std::string& name);
  void wait_ready(std::string name, std::uint32_t least, std::uint32_t most, core::TimePoint deadline, std::function<void(bool)> done);
  void health(http::Exchange& exchange);

  // feed.cpp
  void events(const ExchangePtr& exchange, const Caller& caller);
  void event_history(http::Exchange& exchange, const Caller& caller);
  void metrics(http::Exchange& exchange);

  // recovery.cpp
  void persist(const Record& record);
  void persist(const SavedTemplate& saved);
  Result<SavedTemplate> recall_template(const StoredTemplate& stored);
  void recall_sandboxes(std::vector<StoredSandbox> stored, RuntimeState::Adopted adopted);
  /// What `stored` says of a box; without its place.
  RecordPtr record_of(std::shared_ptr<driver::Box> box, StoredSandbox stored) const;
  void recall(std::shared_ptr<driver::Box> box, const StoredSandbox& stored);
  void recall_unknown(RuntimeState::Adopted::One found);

  Leaves leaves_;
  Settings settings_;
  std::shared_ptr<RuntimeState> runtime_;
  std::unordered_map<std::string, RecordPtr> records_;
  std::map<std::string, SavedTemplate> templates_;
  std::map<std::string, std::uint32_t> saving_;    ///< templates under way, by identity
  std::set<std::string> unused_content_;           ///< removed from the runtime's store when nothing uses it any more
  std::map<std::string, std::uint32_t> resized_;   ///< pools whose size an administrator chose
  std::map<std::string, std::string> made_how_;    ///< "warm" or "cold", between the runtime's event and its completion
  std::function<std::size_t()> connections_;
  Quota quota_;
  std::uint64_t reserved_events_;                  ///< the store knows that ids up to here may be told
  std::deque<Wish> waiting_;                       ///< creations that found no place, oldest first
  bool serving_waiting_ = false;                   ///< serve_waiting() is posted
  std::optional<boost::asio::steady_timer> waiting_timer_;
  Deadlines reaper_;
  std::optional<boost::asio::steady_timer> reaper_timer_;
  std::optional<boost::asio::steady_timer> sweep_timer_;
  core::TimePoint reaper_armed_for_ = core::TimePoint::max();
  SessionNumber last_session_ = 0;
  bool stopping_ = false;
  runtime::WorkerThreads workers_{"sandboxd-work", 12};
  runtime::WorkerThreads dialers_{"sandboxd-dial", 12};
};

template <class Work, class Done>
bool Core::offload(Work work, Done done) {
  auto& reactor = context();
  return workers_.post([weak = weak_from_this(), &reactor, work = std::move(work), done = std::move(done)]() mutable {
    auto result = std::make_shared<decltype(work())>(work());
    boost::asio::post(reactor, [weak, result, done = std::move(done)]() mutable {
      if (weak.lock()) done(std::move(*result));
    });
  });
}

}  // namespace sandbox::server
