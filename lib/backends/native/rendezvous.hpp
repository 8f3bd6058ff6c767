#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "backends/native/launcher.hpp"
#include "core/unique_fd.hpp"

/// The directory in which the launchers of a persistent backend are found again: a lock, and one listening unix socket
/// per launcher. Only its owner can enter it (0700), and launchers check the uid of who connects besides.
namespace sandbox::native {

class Rendezvous {
 public:
  /// Makes `directory` and takes its lock, waiting a little for one that is ending. Errors: already_exists (another process
  /// works with it), failed_precondition (others could get in), those of open(2).
  static Result<std::unique_ptr<Rendezvous>> open(const std::string& directory, core::TimePoint deadline);

  struct Caller {
    std::string name;        ///< of the socket's file
    core::UniqueFd socket;   ///< connected to the launcher
  };
  /// A connection to every launcher that is there. Files of those that are gone are removed.
  std::vector<Caller> callers();
  /// Gives `launcher` a listening socket here.
  Result<void> persist(Launcher& launcher, std::chrono::milliseconds orphan_time, core::TimePoint deadline);

 private:
  Rendezvous(std::string path, core::UniqueFd directory, core::UniqueFd lock)
      : path_(std::move(path)), directory_(std::move(directory)), lock_(std::move(lock)) {}

  const std::string path_;
  const core::UniqueFd directory_, lock_;
};

}  // namespace sandbox::native
