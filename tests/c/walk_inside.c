/* Environment and ports. */
#define _GNU_SOURCE
#include "walk.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

void walk_environment(sbx_sandbox *box) {
  sbx_bytes *value = NULL;
  OK(sbx_env_get(box, SBX_STR("WALK"), &value, &err));
  CHECK(value == NULL);
  OK(sbx_env_set(box, SBX_STR("WALK"), SBX_STR("a b=c"), &err));
  OK(sbx_env_get(box, SBX_STR("WALK"), &value, &err));
  CHECK(view_is(sbx_bytes_view(value), "a b=c"));
  sbx_bytes_free(&value);
  OK(sbx_env_set(box, SBX_STR("WALK"), SBX_STR(""), &err)); /* empty is not unset */
  sbx_op *op = sbx_env_get_start(box, SBX_STR("WALK"));
  finish(op);
  OK(sbx_op_take_bytes(op, &value, &err));
  CHECK(value != NULL && view_is(sbx_bytes_view(value), ""));
  sbx_bytes_free(&value);
  sbx_op_free(&op);
  op = sbx_env_set_start(box, SBX_STR("WALK2"), SBX_STR("2"));
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);

  sbx_env_list *list = NULL;
  OK(sbx_env_all(box, &list, &err));
  int seen = 0;
  sbx_pair pair, before = {{"", 0}, {"", 0}};
  for (size_t i = 0; i < sbx_env_list_size(list); ++i) {
    OK(sbx_env_list_at(list, i, &pair, &err));
    CHECK(strcmp(before.name.data, pair.name.data) < 0); /* sorted */
    before = pair;
    if (view_is(pair.name, "WALK2")) seen += view_is(pair.value, "2");
  }
  CHECK(seen == 1);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_env_list_at(list, sbx_env_list_size(list), &pair, &err));
  sbx_env_list_free(&list);
  op = sbx_env_all_start(box);
  finish(op);
  OK(sbx_op_take_env(op, &list, &err));
  CHECK(sbx_env_list_size(list) > 2);
  sbx_env_list_free(&list);
  sbx_op_free(&op);

  OK(sbx_env_unset(box, SBX_STR("WALK"), &err));
  op = sbx_env_unset_start(box, SBX_STR("WALK2"));
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);
  OK(sbx_env_get(box, SBX_STR("WALK2"), &value, &err));
  CHECK(value == NULL);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_env_set(box, SBX_STR("A=B"), SBX_STR(""), &err));
  EXPECT(SBX_INVALID_ARGUMENT, sbx_env_get(box, SBX_STR(""), &value, &err));
}

static const char kServer[] =
    "import socket\n"
    "s = socket.socket()\n"
    "s.bind(('127.0.0.1', 8080))\n"
    "s.listen(64)\n"
    "while True:\n"
    "    c = s.accept()[0]\n"
    "    data = b''\n"
    "    while piece := c.recv(65536): data += piece\n"
    "    c.sendall(data.upper())\n"
    "    c.close()\n";

static void talk(int fd) {
  CHECK(fd >= 0);
  char answer[16] = "";
  size_t got = 0;
  CHECK(send(fd, "hello", 5, MSG_NOSIGNAL) == 5 && shutdown(fd, SHUT_WR) == 0);
  for (ssize_t count; (count = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0;) got += (size_t)count;
  CHECK(strcmp(answer, "HELLO") == 0);
  close(fd);
}

void walk_ports(sbx_sandbox *box) {
  int fd = 7;
  EXPECT(SBX_UNAVAILABLE, sbx_net_connect(box, 9, 100, &fd, &err));
  CHECK(fd == -1);
  OK(sbx_fs_write(box, SBX_STR("/root/server.py"), text(kServer), NULL, &err));
  sbx_command server = shell("exec python3 /root/server.py");
  sbx_process *process = NULL;
  OK(sbx_spawn(box, &server, &process, &err));
  OK(sbx_net_connect(box, 8080, 20000, &fd, &err));
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
  talk(fd);
  sbx_op *op = sbx_net_connect_start(box, 8080, 0);
  finish(op);
  OK(sbx_op_take_fd(op, &fd, &err));
  talk(fd);
  sbx_op_free(&op);

  sbx_port exposed = SBX_PORT_INIT;
  OK(sbx_net_expose(box, 8080, 0, 0, &exposed, &err));
  CHECK(exposed.port == 8080 && exposed.host_port > 0 && strcmp(exposed.host_address, "127.0.0.1") == 0);
  EXPECT(SBX_ALREADY_EXISTS, sbx_net_expose(box, 8080, 0, 0, &exposed, &err));
  sbx_port_list *ports = NULL;
  OK(sbx_net_list(box, &ports, &err));
  CHECK(sbx_port_list_size(ports) == 1);
  sbx_port listed = SBX_PORT_INIT;
  OK(sbx_port_list_at(ports, 0, &listed, &err));
  CHECK(listed.host_port == exposed.host_port);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_port_list_at(ports, 1, &listed, &err));
  sbx_port_list_free(&ports);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(exposed.host_port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  talk(fd);
  OK(sbx_net_close(box, 8080, &err));
  op = sbx_net_list_start(box);
  finish(op);
  OK(sbx_op_take_ports(op, &ports, &err));
  CHECK(sbx_port_list_size(ports) == 0);
  sbx_port_list_free(&ports);
  sbx_op_free(&op);
  op = sbx_net_expose_start(box, 8080, 0, 0);
  finish(op);
  OK(sbx_op_take_port(op, &exposed, &err));
  sbx_op_free(&op);
  op = sbx_net_close_start(box, 8080);
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);

  /* Nobody takes what was exposed: it is closed again. */
  op = sbx_net_expose_start(box, 8080, 0, 0);
  finish(op);
  sbx_op_free(&op);
  for (int64_t until = now_ms() + 10000;; sleep_ms(5)) {
    OK(sbx_net_list(box, &ports, &err));
    const size_t left = sbx_port_list_size(ports);
    sbx_port_list_free(&ports);
    if (left == 0) break;
    CHECK(now_ms() < until);
  }
  EXPECT(SBX_INVALID_ARGUMENT, sbx_net_connect(box, 0, 0, &fd, &err));
  sbx_process_free(&process);
}
