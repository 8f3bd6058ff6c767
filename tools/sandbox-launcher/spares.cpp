#include "spares.hpp"

#include <utility>

#include "network.hpp"
#include "server_impl.hpp"

namespace sandbox::launcher {

using core::UniqueFd;

namespace {

Result<UniqueFd> make_network() {
  SANDBOX_TRY(auto network, make_network_namespace());
  return keep(std::move(network));
}

}  // namespace

void Spares::keep(os::CgroupTree& cgroups, std::uint32_t sets, std::uint32_t networks) {
  tree_ = &cgroups;
  wanted_sets_ = cgroups.usable() ? sets : 0;
  wanted_networks_ = networks;
}

bool Spares::wanting() const { return sets_.size() < wanted_sets_ || networks_.size() < wanted_networks_; }

void Spares::make_one() {
  if (sets_.size() < wanted_sets_) {
    if (auto set = tree_->make()) {
      sets_.push_back(std::move(*set));
      return;
    } else {
      set.error().ignore("a create will meet it again and report it");
      wanted_sets_ = 0;
    }
  }
  if (networks_.size() < wanted_networks_) {
    if (auto network = make_network()) {
      networks_.push_back(std::move(*network));
    } else {
      network.error().ignore("a create will meet it again and report it");
      wanted_networks_ = 0;
    }
  }
}

Result<os::CgroupSet> Spares::take_cgroups() {
  if (sets_.empty()) return tree_->make();
  os::CgroupSet set = std::move(sets_.front());
  sets_.pop_front();
  return set;
}

Result<UniqueFd> Spares::take_network() {
  if (networks_.empty()) return make_network();
  UniqueFd network = std::move(networks_.front());
  networks_.pop_front();
  return network;
}

void Spares::clear() {
  sets_.clear();
  networks_.clear();
}

}  // namespace sandbox::launcher
