/* What env_get_floor measures, through the C interface: blocking, and as ops that report to a queue.
 *
 * usage: env_get_c [rounds]     (default 20000) */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sandbox/c.h>

enum { kFile = 64 << 20, kPiece = 1 << 20 };

static sbx_error *err;

static void must(sbx_code code, const char *what) {
  if (code == SBX_OK) return;
  fprintf(stderr, "env_get_c: %s: %s\n", what, err ? sbx_error_text(err).data : sbx_code_name(code));
  exit(1);
}
#define MUST(call) must(call, #call)

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *times, int count) {
  qsort(times, (size_t)count, sizeof *times, ascending);
  return times[count / 2];
}

static void get_blocking(sbx_sandbox *box) {
  sbx_bytes *value = NULL;
  MUST(sbx_env_get(box, SBX_STR("FLOOR"), &value, &err));
  sbx_bytes_free(&value);
}

static void get_by_queue(sbx_sandbox *box, sbx_queue *queue) {
  sbx_op *op = sbx_env_get_start(box, SBX_STR("FLOOR"));
  MUST(sbx_op_notify(op, queue, 1, &err));
  uint64_t tag;
  while (sbx_queue_next(queue, &tag, 1) == 0) {
    struct pollfd ready = {sbx_queue_fd(queue), POLLIN, 0};
    poll(&ready, 1, -1);
    char bytes[64];
    while (read(ready.fd, bytes, sizeof bytes) == sizeof bytes) {
    }
  }
  sbx_bytes *value = NULL;
  MUST(sbx_op_take_bytes(op, &value, &err));
  sbx_bytes_free(&value);
  sbx_op_free(&op);
}

static double file_in(sbx_sandbox *box) {
  char *piece = malloc(kPiece);
  memset(piece, 7, kPiece);
  const double begin = now();
  sbx_writer *writer = NULL;
  MUST(sbx_fs_open_writer(box, SBX_STR("/root/floor"), NULL, &writer, &err));
  for (int sent = 0; sent < kFile; sent += kPiece) MUST(sbx_writer_write(writer, (sbx_view){piece, kPiece}, &err));
  MUST(sbx_writer_finish(writer, NULL, &err));
  sbx_writer_free(&writer);
  const double took = now() - begin;
  free(piece);
  return 64 / took;
}

static double file_out(sbx_sandbox *box) {
  const double begin = now();
  sbx_reader *reader = NULL;
  MUST(sbx_fs_open_reader(box, SBX_STR("/root/floor"), &reader, &err));
  size_t total = 0;
  for (;;) {
    sbx_bytes *piece = NULL;
    MUST(sbx_reader_read(reader, &piece, &err));
    if (!piece) break;
    total += sbx_bytes_view(piece).size;
    sbx_bytes_free(&piece);
  }
  sbx_reader_free(&reader);
  if (total != kFile) abort();
  return 64 / (now() - begin);
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 20000;
  sbx_runtime *runtime = NULL;
  sbx_sandbox *box = NULL;
  sbx_queue *queue = NULL;
  MUST(sbx_runtime_open(NULL, &runtime, &err));
  MUST(sbx_runtime_create(runtime, NULL, NULL, &box, &err));
  MUST(sbx_queue_new(&queue, &err));
  MUST(sbx_env_set(box, SBX_STR("FLOOR"), SBX_STR("1"), &err));
  double *times = calloc((size_t)rounds, sizeof *times);
  for (int i = 0; i < rounds / 10; ++i) get_blocking(box);
  for (int i = 0; i < rounds; ++i) {
    const double begin = now();
    get_blocking(box);
    times[i] = (now() - begin) * 1e6;
  }
  const double blocking = median(times, rounds);
  for (int i = 0; i < rounds / 10; ++i) get_by_queue(box, queue);
  for (int i = 0; i < rounds; ++i) {
    const double begin = now();
    get_by_queue(box, queue);
    times[i] = (now() - begin) * 1e6;
  }
  const double queued = median(times, rounds);
  double in = 0, out = 0;
  for (int i = 0; i < 3; ++i) {
    const double in_now = file_in(box), out_now = file_out(box);
    if (in_now > in) in = in_now;
    if (out_now > out) out = out_now;
  }
  printf("{\"env_get_us_p50\":%.2f,\"env_get_queue_us_p50\":%.2f,\"file_in_mib_s\":%.0f,\"file_out_mib_s\":%.0f}\n", blocking, queued, in, out);
  free(times);
  sbx_queue_free(&queue);
  sbx_sandbox_free(&box);
  sbx_runtime_free(&runtime);
  return 0;
}
