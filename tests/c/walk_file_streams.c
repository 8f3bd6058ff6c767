#include "walk.h"

enum { kSize = 8 << 20, kPiece = 1 << 18 };

static unsigned char byte_at(size_t offset) { return (unsigned char)((offset * 2654435761u) >> 13); }

static void fill(char *piece, size_t offset) {
  for (size_t i = 0; i < kPiece; ++i) piece[i] = (char)byte_at(offset + i);
}

static void a_large_file(sbx_sandbox *box) {
  sbx_writer *writer = NULL;
  char *piece = malloc(kPiece);
  OK(sbx_fs_open_writer(box, SBX_STR("/root/large"), NULL, &writer, &err));
  for (size_t sent = 0; sent < kSize; sent += kPiece) {
    fill(piece, sent);
    if ((sent / kPiece) % 2 == 0) {
      OK(sbx_writer_write(writer, (sbx_view){piece, kPiece}, &err));
    } else {
      sbx_op *op = sbx_writer_write_start(writer, (sbx_view){piece, kPiece});
      memset(piece, 0, kPiece); /* what goes in was copied */
      finish(op);
      OK(sbx_op_take(op, &err));
      sbx_op_free(&op);
    }
  }
  free(piece);
  sbx_transfer moved = SBX_TRANSFER_INIT;
  sbx_op *op = sbx_writer_finish_start(writer);
  finish(op);
  OK(sbx_op_take_transfer(op, &moved, &err));
  CHECK(moved.bytes == kSize);
  sbx_op_free(&op);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_writer_write(writer, SBX_STR("x"), &err));
  sbx_writer_free(&writer);

  sbx_reader *reader = NULL;
  OK(sbx_fs_open_reader(box, SBX_STR("/root/large"), &reader, &err));
  size_t got = 0;
  for (int turn = 0;; ++turn) {
    sbx_bytes *bytes = NULL;
    if (turn % 2 == 0) {
      OK(sbx_reader_read(reader, &bytes, &err));
    } else {
      op = sbx_reader_read_start(reader);
      finish(op);
      OK(sbx_op_take_bytes(op, &bytes, &err));
      sbx_op_free(&op);
    }
    if (!bytes) break;
    const sbx_view view = sbx_bytes_view(bytes);
    for (size_t i = 0; i < view.size; ++i)
      if ((unsigned char)view.data[i] != byte_at(got + i)) CHECK(!"the same bytes come back");
    got += view.size;
    sbx_bytes_free(&bytes);
  }
  CHECK(got == kSize);
  sbx_reader_free(&reader);
}

static void given_up(sbx_sandbox *box) {
  sbx_writer *writer = NULL;
  sbx_bytes *bytes = NULL;
  OK(sbx_fs_write(box, SBX_STR("/root/kept"), SBX_STR("old"), NULL, &err));
  OK(sbx_fs_open_writer(box, SBX_STR("/root/kept"), NULL, &writer, &err));
  OK(sbx_writer_write(writer, SBX_STR("new"), &err));
  sbx_writer_close(writer);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_writer_finish(writer, NULL, &err));
  sbx_writer_free(&writer);
  OK(sbx_fs_read(box, SBX_STR("/root/kept"), 0, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "old"));
  sbx_bytes_free(&bytes);

  sbx_reader *reader = NULL;
  OK(sbx_fs_open_reader(box, SBX_STR("/root/none"), &reader, &err)); /* told by the first read */
  EXPECT(SBX_NOT_FOUND, sbx_reader_read(reader, &bytes, &err));
  sbx_reader_close(reader);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_reader_read(reader, &bytes, &err));
  sbx_reader_free(&reader);
}

static void a_tree_as_tar(sbx_sandbox *box) {
  OK(sbx_fs_mkdir(box, SBX_STR("/root/tree/in"), &err));
  OK(sbx_fs_write(box, SBX_STR("/root/tree/in/file"), SBX_STR("packed"), NULL, &err));
  OK(sbx_fs_mkdir(box, SBX_STR("/root/copy"), &err));
  sbx_reader *reader = NULL;
  sbx_writer *writer = NULL;
  OK(sbx_fs_open_tar_reader(box, SBX_STR("/root/tree"), &reader, &err));
  OK(sbx_fs_open_tar_writer(box, SBX_STR("/root/copy"), &writer, &err));
  for (;;) {
    sbx_bytes *bytes = NULL;
    OK(sbx_reader_read(reader, &bytes, &err));
    if (!bytes) break;
    OK(sbx_writer_write(writer, sbx_bytes_view(bytes), &err));
    sbx_bytes_free(&bytes);
  }
  sbx_transfer moved = SBX_TRANSFER_INIT;
  OK(sbx_writer_finish(writer, &moved, &err));
  CHECK(moved.bytes == 6);
  sbx_reader_free(&reader);
  sbx_writer_free(&writer);
  sbx_bytes *bytes = NULL;
  OK(sbx_fs_read(box, SBX_STR("/root/copy/in/file"), 0, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "packed"));
  sbx_bytes_free(&bytes);
}

static void watched(sbx_sandbox *box) {
  sbx_watch *watch = NULL;
  OK(sbx_fs_mkdir(box, SBX_STR("/root/w"), &err));
  OK(sbx_fs_watch(box, SBX_STR("/root/w"), 1, &watch, &err));
  sbx_file_event event = SBX_FILE_EVENT_INIT;
  EXPECT(SBX_DEADLINE_EXCEEDED, sbx_watch_next(watch, 20, &event, &err));
  OK(sbx_fs_mkdir(box, SBX_STR("/root/w/new"), &err));
  OK(sbx_watch_next(watch, 10000, &event, &err));
  CHECK(event.change == SBX_CREATED && view_is(event.path, "/root/w/new"));
  sbx_op *op = sbx_watch_next_start(watch);
  OK(sbx_fs_rename(box, SBX_STR("/root/w/new"), SBX_STR("/root/w/newer"), &err));
  for (int turn = 0; turn < 20; ++turn) { /* the directory itself may report before */
    finish(op);
    OK(sbx_op_take_file_event(op, &event, &err));
    if (event.change == SBX_RENAMED) break;
    sbx_op_free(&op);
    op = sbx_watch_next_start(watch);
  }
  CHECK(event.change == SBX_RENAMED && view_is(event.path, "/root/w/newer") && view_is(event.old_path, "/root/w/new"));
  sbx_op_free(&op);
  op = sbx_watch_next_start(watch);
  sbx_watch_close(watch);
  finish(op);
  EXPECT(SBX_CANCELLED, sbx_op_take_file_event(op, &event, &err));
  sbx_op_free(&op);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_watch_next(watch, 0, &event, &err));
  sbx_watch_free(&watch);

  op = sbx_fs_watch_start(box, SBX_STR("/root/w"), 0);
  finish(op);
  OK(sbx_op_take_watch(op, &watch, &err));
  sbx_op_free(&op);
  sbx_watch_free(&watch);
  EXPECT(SBX_NOT_FOUND, sbx_fs_watch(box, SBX_STR("/root/nowhere"), 0, &watch, &err));
}

void walk_file_streams(sbx_sandbox *box) {
  a_large_file(box);
  given_up(box);
  a_tree_as_tar(box);
  watched(box);
}
