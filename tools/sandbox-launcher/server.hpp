#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include <sandbox/result.hpp>

#include "base.hpp"
#include "child_slots.hpp"
#include "core/unique_fd.hpp"
#include "id_ranges.hpp"
#include "launch/plan.hpp"
#include "network.hpp"
#include "os/cgroup.hpp"
#include "recipe.hpp"
#include "spares.hpp"

/// The launcher's loop: requests in, sandboxes made, watched and taken away. Single-threaded.
namespace sandbox::launcher {

class Server {
 public:
  /// `control` is the socket to the backend, which must stay open for the server's life.
  Server(int control, Base base) : control_(control), base_(std::move(base)) {}
  /// Before run().
  Result<void> begin();
  /// Until the control socket ends or its peer breaks the rules; then everything made is taken away. Once told to persist,
  /// committed sandboxes live on and the next control connection is awaited (lose_control()).
  /// Returns the process's exit code.
  int run();

 private:
  using Slot = ChildSlots::Slot;
  struct Sandbox {
    std::uint64_t id = 0;
    int pid = -1;
    core::UniqueFd pidfd, network, writable;
    core::UniqueFd door;               ///< where the agent is handed new transports; none unless persistent
    std::uint32_t address = 0, gateway = 0;
    std::uint64_t made_ns = 0;
    bool committed = false;            ///< outlives the control connection
    std::string record;                ///< of the latest commit
    std::vector<std::shared_ptr<core::UniqueFd>> holds;  ///< locks on its layers; none unless persistent
    os::CgroupSet cgroups;
    std::uint32_t first_id = 0;
    bool has_ids = false;
    Slot* slot = nullptr;
    bool ended = false, frozen = false, doomed = false;
    bool frozen_briefly = false;       ///< goes on when the control connection ends
    launch::Outcome outcome;           ///< valid when ended
    std::vector<std::uint64_t> waiting_outcome, waiting_destroy;  ///< request numbers
  };
  struct Connection {
    std::uint64_t request = 0, sandbox = 0;
    InsideConnection connection;
    std::uint64_t deadline_ms = 0;
  };

  using Handler = Result<void> (Server::*)(const launch::Request&, std::vector<core::UniqueFd>&);
  struct Permitted;
  static const Permitted kPermitted[];

  // -- server.cpp: the loop, and what is asked of the launcher itself
  bool watch(int fd, std::uint64_t key, std::uint32_t events);
  int timeout_ms() const;
  bool handle_packet();
  void read_notes();
  /// False: it could not be sent, and the peer was told that instead.
  bool reply(std::uint64_t number, std::string body, std::span<const int> fds = {});
  void reply_error(std::uint64_t number, const Error& error);
  Result<Sandbox*> find(std::uint64_t id);
  Result<void> configure(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> prepare(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> drop(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> ping(const launch::Request&, std::vector<core::UniqueFd>&);

  // -- creating.cpp
  Result<void> create(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> start(Sandbox& sandbox, const std::shared_ptr<Recipe>& recipe, launch::Created& created, core::UniqueFd& stream);
  Result<void> hand_over(Sandbox& sandbox, Slot& slot, const Recipe& recipe);
  Result<core::UniqueFd> clone_tree(const std::string& path, int user_namespace);
  void tidy_slots();

  // -- living.cpp
  Result<void> stats(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> freeze(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> thaw(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> writable(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> listening(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> connect(const launch::Request&, std::vector<core::UniqueFd>&);
  void on_connection(std::uint64_t key);
  void settle_connection(std::uint64_t key, Result<InsideConnection::State> state);

  // -- ending.cpp
  Result<void> destroy(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> outcome(const launch::Request&, std::vector<core::UniqueFd>&);
  void doom(Sandbox& sandbox);
  void on_exit(Sandbox& sandbox);
  bool clean(Sandbox& sandbox);
  void finish(std::uint64_t id);
  void shut_down();

  // -- persist.cpp
  Result<void> persist(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> commit(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> list(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> adopt(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> forget(const launch::Request&, std::vector<core::UniqueFd>&);
  Result<void> hold_layers(Sandbox& sandbox, const std::vector<std::string>& paths);
  bool lose_control();
  void on_rendezvous();
  void refuse_caller(int caller, const Error& why);

  int control_;                               ///< -1: nobody is there
  core::UniqueFd later_control_;              ///< control_, when it was accepted
  core::UniqueFd notes_;                      ///< of the present control connection; in no epoll
  Base base_;
  core::UniqueFd epoll_, self_, agent_, rendezvous_;
  launch::Persist persist_;                   ///< with rendezvous_
  std::uint64_t orphan_deadline_ns_ = 0;      ///< 0: there is a control connection
  bool configured_ = false;                   ///< once
  bool greeted_ = false;                      ///< by the present control connection
  launch::Configure options_;
  launch::Configured facts_;
  std::optional<IdRanges> ids_;
  std::unique_ptr<os::CgroupTree> cgroups_;
  std::unique_ptr<Bridge> bridge_;
  int landlock_abi_ = 0;
  bool idmap_ = false;
  std::string idmap_reason_;
  std::map<std::string, std::weak_ptr<MountedTree>> trees_;
  std::unordered_map<std::uint32_t, std::shared_ptr<Recipe>> recipes_;
  std::map<std::string, std::weak_ptr<core::UniqueFd>> holds_;  ///< by path
  std::unordered_map<std::uint64_t, std::unique_ptr<Sandbox>> sandboxes_;
  std::unordered_map<std::uint64_t, Connection> connections_;
  std::vector<std::uint64_t> busy_;           ///< ended, but their cgroups could not be removed yet
  Spares spares_;
  ChildSlots slots_;
  std::uint64_t next_id_ = 0, next_connection_ = 0;
  std::uint64_t last_request_ns_ = 0;
  std::uint64_t sweep_until_ns_ = 0;          ///< 0: no cgroup of a dead launcher is left
  bool broken_ = false;
};

}  // namespace sandbox::launcher
