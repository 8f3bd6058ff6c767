#define _POSIX_C_SOURCE 200809L
#include "operations.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void open_socket(call_t* call) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)arg_number(call, "port", 0))};
  const json_t* text = arg_text(call, "address");
  if (text == NULL || inet_pton(AF_INET, json_string_value(text), &address.sin_addr) != 1) {
    surprise(call->teller, "no address");
    return;
  }
  int* fd = malloc(sizeof *fd);
  if (fd == NULL) abort();
  *fd = socket(AF_INET, SOCK_STREAM, 0);
  call->kind = kSocket;
  call->object = fd;
  if (connect(*fd, (const struct sockaddr*)&address, sizeof address) == 0) {
    call->fields = json_object();
  } else {
    fail_with(call, errno == ECONNREFUSED ? "unavailable" : "internal", strerror(errno));
  }
}

static void write_all(call_t* call, int fd, sbx_view content) {
  for (size_t sent = 0; sent < content.size;) {
    const ssize_t n = send(fd, content.data + sent, content.size - sent, MSG_NOSIGNAL);
    if (n < 0) {
      fail_with(call, "internal", strerror(errno));
      return;
    }
    sent += (size_t)n;
  }
  call->fields = json_object();
}

static void read_all(call_t* call, int fd) {
  const int64_t deadline = clock_ms() + arg_number(call, "timeout_ms", 10000);
  char* content = NULL;
  size_t size = 0;
  for (;;) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (clock_ms() >= deadline || poll(&waiting, 1, (int)left_ms(deadline)) <= 0) {
      fail_with(call, "deadline_exceeded", "nothing more came");
      break;
    }
    content = realloc(content, size + 65536);
    if (content == NULL) abort();
    const ssize_t n = recv(fd, content + size, 65536, 0);
    if (n < 0) {
      fail_with(call, "internal", strerror(errno));
      break;
    }
    if (n == 0) {
      call->fields = json_pack("{s:o}", "content", text_of((sbx_view){content, size}));
      break;
    }
    size += (size_t)n;
  }
  free(content);
}

static void write_file(call_t* call) {
  const json_t* path = arg_text(call, "path");
  const sbx_view content = view_of(arg_text(call, "content"));
  FILE* file = path != NULL ? fopen(json_string_value(path), "wb") : NULL;
  if (file == NULL || fwrite(content.data, 1, content.size, file) != content.size)
    surprise(call->teller, "the file cannot be written");
  if (file != NULL && fclose(file) != 0) surprise(call->teller, "the file cannot be written");
  call->fields = json_object();
}

static void read_file(call_t* call) {
  const json_t* path = arg_text(call, "path");
  FILE* file = path != NULL ? fopen(json_string_value(path), "rb") : NULL;
  if (file == NULL) {
    fail_with(call, "not_found", "no such file");
    return;
  }
  char* content = NULL;
  size_t size = 0, got = 0;
  do {
    size += got;
    content = realloc(content, size + 65536);
    if (content == NULL) abort();
  } while ((got = fread(content + size, 1, 65536, file)) > 0);
  call->fields = json_pack("{s:o}", "content", text_of((sbx_view){content, size}));
  fclose(file);
  free(content);
}

bool perform_on_host(call_t* call) {
  const char* what = call->operation;
  if (strcmp(what, "host.write") == 0) return write_file(call), true;
  if (strcmp(what, "host.read") == 0) return read_file(call), true;
  if (strcmp(what, "socket.open") == 0) return open_socket(call), true;
  if (strncmp(what, "socket.", 7) != 0) return false;
  const int* fd = object_of(call, kSocket);
  if (fd == NULL) return true;
  if (strcmp(what, "socket.write") == 0) {
    write_all(call, *fd, view_of(arg_text(call, "content")));
  } else if (strcmp(what, "socket.read_all") == 0) {
    read_all(call, *fd);
  } else if (strcmp(what, "socket.end") == 0) {
    shutdown(*fd, SHUT_WR);
    call->fields = json_object();
  } else {
    return false;
  }
  return true;
}
