#include "walk.h"

static void content(sbx_sandbox *box) {
  const sbx_view path = SBX_STR("/root/c/deep/file");
  sbx_write_options options = SBX_WRITE_OPTIONS_INIT;
  EXPECT(SBX_NOT_FOUND, sbx_fs_write(box, path, SBX_STR("x"), NULL, &err));
  options.make_parents = 1;
  options.mode = 0640;
  OK(sbx_fs_write(box, path, SBX_STR("hello"), &options, &err));
  options = (sbx_write_options)SBX_WRITE_OPTIONS_INIT;
  options.append = 1;
  OK(sbx_fs_write(box, path, SBX_STR(" you"), &options, &err));
  options = (sbx_write_options)SBX_WRITE_OPTIONS_INIT;
  options.exclusive = 1;
  EXPECT(SBX_ALREADY_EXISTS, sbx_fs_write(box, path, SBX_STR("x"), &options, &err));
  sbx_bytes *bytes = NULL;
  OK(sbx_fs_read(box, path, 0, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "hello you"));
  sbx_bytes_free(&bytes);
  CHECK(bytes == NULL);
  EXPECT(SBX_RESOURCE_EXHAUSTED, sbx_fs_read(box, path, 4, &bytes, &err));
  EXPECT(SBX_NOT_FOUND, sbx_fs_read(box, SBX_STR("/root/none"), 0, &bytes, &err));
  OK(sbx_fs_read_range(box, path, 6, 2, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "yo"));
  sbx_bytes_free(&bytes);
  OK(sbx_fs_read_range(box, path, 100, 2, &bytes, &err)); /* beyond the end: empty, not null */
  CHECK(bytes != NULL && view_is(sbx_bytes_view(bytes), ""));
  sbx_bytes_free(&bytes);

  sbx_op *op = sbx_fs_write_start(box, SBX_STR("/root/c/binary"), (sbx_view){"a\0b", 3}, NULL);
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);
  op = sbx_fs_read_start(box, SBX_STR("/root/c/binary"), 0);
  finish(op);
  OK(sbx_op_take_bytes(op, &bytes, &err));
  CHECK(sbx_bytes_view(bytes).size == 3 && memcmp(sbx_bytes_view(bytes).data, "a\0b", 4) == 0);
  sbx_bytes_free(&bytes);
  sbx_op_free(&op);
  op = sbx_fs_read_start(box, SBX_STR("/root/c/binary"), 2);
  finish(op);
  EXPECT(SBX_RESOURCE_EXHAUSTED, sbx_op_take_bytes(op, &bytes, &err));
  sbx_op_free(&op);
  op = sbx_fs_read_range_start(box, path, 1, 4);
  finish(op);
  OK(sbx_op_take_bytes(op, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "ello"));
  sbx_bytes_free(&bytes);
  sbx_op_free(&op);
}

static void take_nothing(sbx_op *op) {
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);
}

static void entries(sbx_sandbox *box) {
  OK(sbx_fs_mkdir(box, SBX_STR("/root/e/one"), &err));
  take_nothing(sbx_fs_mkdir_start(box, SBX_STR("/root/e/two")));
  OK(sbx_fs_write(box, SBX_STR("/root/e/one/a.txt"), SBX_STR("123"), NULL, &err));
  OK(sbx_fs_symlink(box, SBX_STR("one/a.txt"), SBX_STR("/root/e/link"), &err));
  take_nothing(sbx_fs_symlink_start(box, SBX_STR("nowhere"), SBX_STR("/root/e/broken")));
  OK(sbx_fs_chmod(box, SBX_STR("/root/e/one/a.txt"), 0600, &err));
  take_nothing(sbx_fs_chmod_start(box, SBX_STR("/root/e/one/a.txt"), 0604));

  sbx_file_list *files = NULL;
  sbx_file_info info = SBX_FILE_INFO_INIT;
  OK(sbx_fs_stat(box, SBX_STR("/root/e/link"), 1, &files, &err));
  CHECK(sbx_file_list_size(files) == 1);
  OK(sbx_file_list_at(files, 0, &info, &err));
  CHECK(info.type == SBX_FILE_REGULAR && info.size == 3 && info.mode == 0604 && info.modified_ns > 0);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_file_list_at(files, 1, &info, &err));
  sbx_file_list_free(&files);
  sbx_op *op = sbx_fs_stat_start(box, SBX_STR("/root/e/link"), 0);
  finish(op);
  OK(sbx_op_take_files(op, &files, &err));
  OK(sbx_file_list_at(files, 0, &info, &err));
  CHECK(info.type == SBX_FILE_SYMLINK && view_is(info.target, "one/a.txt"));
  sbx_file_list_free(&files);
  sbx_op_free(&op);
  EXPECT(SBX_NOT_FOUND, sbx_fs_stat(box, SBX_STR("/root/e/broken"), 1, &files, &err));

  OK(sbx_fs_list(box, SBX_STR("/root/e"), &files, &err));
  const char *const names[] = {"broken", "link", "one", "two"};
  CHECK(sbx_file_list_size(files) == 4);
  for (size_t i = 0; i < 4; ++i) {
    OK(sbx_file_list_at(files, i, &info, &err));
    CHECK(view_is(info.path, names[i]));
  }
  sbx_file_list_free(&files);
  op = sbx_fs_list_start(box, SBX_STR("/root/e/two"));
  finish(op);
  OK(sbx_op_take_files(op, &files, &err));
  CHECK(files != NULL && sbx_file_list_size(files) == 0);
  sbx_file_list_free(&files);
  sbx_op_free(&op);

  sbx_find_options how = SBX_FIND_OPTIONS_INIT;
  how.type = SBX_FILE_REGULAR;
  OK(sbx_fs_find(box, SBX_STR("/root/e"), SBX_STR("**/*.txt"), &how, &files, &err));
  CHECK(sbx_file_list_size(files) == 1);
  OK(sbx_file_list_at(files, 0, &info, &err));
  CHECK(view_is(info.path, "one/a.txt"));
  sbx_file_list_free(&files);
  op = sbx_fs_find_start(box, SBX_STR("/root/e"), SBX_STR("*"), NULL);
  finish(op);
  OK(sbx_op_take_files(op, &files, &err));
  CHECK(sbx_file_list_size(files) == 4);
  sbx_file_list_free(&files);
  sbx_op_free(&op);

  OK(sbx_fs_rename(box, SBX_STR("/root/e/two"), SBX_STR("/root/e/three"), &err));
  take_nothing(sbx_fs_rename_start(box, SBX_STR("/root/e/three"), SBX_STR("/root/e/two")));
  uint64_t copied = 0;
  OK(sbx_fs_copy(box, SBX_STR("/root/e/one"), SBX_STR("/root/e/four"), &copied, &err));
  CHECK(copied == 3);
  op = sbx_fs_copy_start(box, SBX_STR("/root/e/one/a.txt"), SBX_STR("/root/e/b.txt"));
  finish(op);
  OK(sbx_op_take_count(op, &copied, &err));
  CHECK(copied == 3);
  sbx_op_free(&op);
  OK(sbx_fs_remove(box, SBX_STR("/root/e/two"), 0, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_fs_remove(box, SBX_STR("/root/e/one"), 0, &err)); /* not empty */
  take_nothing(sbx_fs_remove_start(box, SBX_STR("/root/e"), 1));
  OK(sbx_fs_remove(box, SBX_STR("/root/e"), 1, &err)); /* not there is fine */
}

static void transfers(sbx_sandbox *box) {
  char host[256], back[300];
  make_state(host, sizeof host);
  snprintf(back, sizeof back, "%s/back", host);
  OK(sbx_fs_write(box, SBX_STR("/root/t/a"), SBX_STR("12345"), &(sbx_write_options){.struct_size = sizeof(sbx_write_options), .make_parents = 1}, &err));
  sbx_transfer moved = SBX_TRANSFER_INIT;
  OK(sbx_fs_download(box, SBX_STR("/root/t"), text(back), &moved, &err));
  CHECK(moved.entries >= 1 && moved.bytes == 5 && moved.skipped == 0);
  sbx_op *op = sbx_fs_upload_start(box, text(back), SBX_STR("/root/t2"));
  finish(op);
  OK(sbx_op_take_transfer(op, &moved, &err));
  CHECK(moved.bytes == 5);
  sbx_op_free(&op);
  sbx_bytes *bytes = NULL;
  OK(sbx_fs_read(box, SBX_STR("/root/t2/a"), 0, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "12345"));
  sbx_bytes_free(&bytes);
  OK(sbx_fs_upload(box, text(back), SBX_STR("/root/t3"), NULL, &err));
  op = sbx_fs_download_start(box, SBX_STR("/root/t3/a"), text(back));
  finish(op);
  sbx_code code = sbx_op_take_transfer(op, &moved, NULL);
  CHECK(code != SBX_OK); /* a file over a directory */
  sbx_op_free(&op);
  EXPECT(SBX_NOT_FOUND, sbx_fs_upload(box, SBX_STR("/no/such/file"), SBX_STR("/root/t4"), &moved, &err));
  remove_state(host);
}

void walk_files(sbx_sandbox *box) {
  content(box);
  entries(box);
  transfers(box);
}
