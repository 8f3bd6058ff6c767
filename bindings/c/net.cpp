#include <sandbox/net.hpp>

#include <algorithm>

#include "arguments.hpp"
#include "core/unique_fd.hpp"
#include "handles.hpp"
#include "workers.hpp"

struct sbx_port_list {
  explicit sbx_port_list(std::vector<sandbox::ExposedPort> content) : ports(std::move(content)) {}
  const std::vector<sandbox::ExposedPort> ports;
};

using namespace sandbox;
using namespace sandbox::c;

namespace {

using PortsPtr = std::unique_ptr<sbx_port_list>;

/// Exposed on behalf of somebody who may have gone meanwhile.
struct Exposed {
  ExposedPort port;
  Net net;
  static void retire(Exposed unwanted) {
    run_later(Lane::quick, [unwanted]() mutable { unwanted.net.close(unwanted.port.port).ignore("nobody is left to tell"); });
  }
};

/// A connection; closed again unless it is taken.
using Socket = std::shared_ptr<core::UniqueFd>;

void fill_port(sbx_port* out, const ExposedPort& port) {
  sbx_port told SBX_PORT_INIT;
  told.port = port.port;
  told.host_port = port.host_port;
  const std::size_t size = std::min(port.host_address.size(), sizeof told.host_address - 1);
  std::copy_n(port.host_address.data(), size, told.host_address);
  fill(out, told);
}

Result<Work<Socket>> prepare_connect(sbx_sandbox* handle, uint16_t port, int64_t timeout_ms) {
  SANDBOX_TRY(const auto box, object(handle));
  SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::seconds(5)));
  return Work<Socket>([net = box->net(), port, timeout]() mutable -> Result<Socket> {
    SANDBOX_TRY(const int fd, net.connect(port, timeout));
    return std::make_shared<core::UniqueFd>(fd);
  });
}

Result<StoppableWork<Exposed>> prepare_expose(sbx_sandbox* handle, uint16_t port, uint16_t host_port, int64_t timeout_ms) {
  SANDBOX_TRY(const auto box, object(handle));
  SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::seconds(30)));
  return StoppableWork<Exposed>([net = box->net(), port, host_port, timeout](const std::stop_token& stop) mutable -> Result<Exposed> {
    SANDBOX_TRY(ExposedPort exposed, net.expose(port, host_port, timeout, stop));
    return Exposed{std::move(exposed), net};
  });
}

Result<Work<PortsPtr>> prepare_list(sbx_sandbox* handle) {
  SANDBOX_TRY(const auto box, object(handle));
  return Work<PortsPtr>([net = box->net()]() mutable -> Result<PortsPtr> {
    SANDBOX_TRY(auto ports, net.list());
    return std::make_unique<sbx_port_list>(std::move(ports));
  });
}

Result<Work<Nothing>> prepare_close(sbx_sandbox* handle, uint16_t port) {
  SANDBOX_TRY(const auto box, object(handle));
  return Work<Nothing>([net = box->net(), port]() mutable { return nothing(net.close(port)); });
}

}  // namespace

sbx_code sbx_net_connect(sbx_sandbox* sandbox, uint16_t port, int64_t timeout_ms, int* fd, sbx_error** err) {
  return guard(err, fd, -1, [&]() -> Result<int> {
    SANDBOX_TRY(const auto work, prepare_connect(sandbox, port, timeout_ms));
    SANDBOX_TRY(const Socket socket, work());
    return socket->release();
  });
}
sbx_op* sbx_net_connect_start(sbx_sandbox* sandbox, uint16_t port, int64_t timeout_ms) {
  return start_work<Socket>(Lane::slow, [&] { return prepare_connect(sandbox, port, timeout_ms); });
}
sbx_code sbx_op_take_fd(sbx_op* op, int* fd, sbx_error** err) {
  if (fd) *fd = -1;
  return take<Socket>(op, err, fd != nullptr, [fd](const Socket& socket) { *fd = socket->release(); });
}

sbx_code sbx_net_expose(sbx_sandbox* sandbox, uint16_t port, uint16_t host_port, int64_t timeout_ms, sbx_port* exposed, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_CHECK(check_out(exposed, "exposed"));
    SANDBOX_TRY(const auto work, prepare_expose(sandbox, port, host_port, timeout_ms));
    SANDBOX_TRY(const Exposed made, work({}));
    return fill_port(exposed, made.port), Result<void>();
  });
}
sbx_op* sbx_net_expose_start(sbx_sandbox* sandbox, uint16_t port, uint16_t host_port, int64_t timeout_ms) {
  return start_stoppable<Exposed>(Lane::slow, [&] { return prepare_expose(sandbox, port, host_port, timeout_ms); });
}
sbx_code sbx_op_take_port(sbx_op* op, sbx_port* exposed, sbx_error** err) {
  return take_struct<Exposed>(op, err, exposed, "exposed", [](sbx_port* out, const Exposed& made) { fill_port(out, made.port); });
}

sbx_code sbx_net_list(sbx_sandbox* sandbox, sbx_port_list** ports, sbx_error** err) {
  return run_now(err, ports, [&] { return prepare_list(sandbox); });
}
sbx_op* sbx_net_list_start(sbx_sandbox* sandbox) {
  return start_work<PortsPtr>(Lane::quick, [&] { return prepare_list(sandbox); });
}
sbx_code sbx_op_take_ports(sbx_op* op, sbx_port_list** ports, sbx_error** err) { return take_handle(op, ports, err); }
size_t sbx_port_list_size(const sbx_port_list* ports) { return ports ? ports->ports.size() : 0; }
sbx_code sbx_port_list_at(const sbx_port_list* ports, size_t index, sbx_port* port, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    if (!ports) return null_argument("ports");
    SANDBOX_CHECK(check_out(port, "port"));
    if (index >= ports->ports.size()) return bad_argument("index", "is beyond the end");
    return fill_port(port, ports->ports[index]), Result<void>();
  });
}
void sbx_port_list_free(sbx_port_list** ports) { free_value(ports); }

sbx_code sbx_net_close(sbx_sandbox* sandbox, uint16_t port, sbx_error** err) {
  return run_now(err, [&] { return prepare_close(sandbox, port); });
}
sbx_op* sbx_net_close_start(sbx_sandbox* sandbox, uint16_t port) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_close(sandbox, port); });
}
