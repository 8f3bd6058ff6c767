#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char* const kTypes[] = {"unknown", "regular", "directory", "symlink",
                                     "fifo",    "socket",  "character", "block"};
static const char* const kChanges[] = {"?", "created", "modified", "removed", "renamed", "attributes", "overflow"};

static json_t* file_fields(const sbx_file_info* file) {
  char mode[8];
  snprintf(mode, sizeof mode, "%o", (unsigned)(file->mode & 0777));
  return json_pack("{s:o, s:s, s:o, s:s, s:i, s:i, s:o}", "path", text_of(file->path), "type", kTypes[file->type],
                   "size", number_of(file->size), "mode", mode, "uid", (int)file->uid, "gid", (int)file->gid, "target",
                   text_of(file->target));
}

/* `one`: the fields are those of the only file. */
static void tell_files(call_t* call, sbx_code code, sbx_file_list* files, sbx_error** err, bool one) {
  if (!good(call, code, err)) return;
  json_t* list = json_array();
  for (size_t i = 0; i < sbx_file_list_size(files); ++i) {
    sbx_file_info file = SBX_FILE_INFO_INIT;
    if (good(call, sbx_file_list_at(files, i, &file, err), err)) json_array_append_new(list, file_fields(&file));
  }
  if (one && json_array_size(list) != 1) surprise(call->teller, "there is more or less than one");
  call->fields = one ? json_incref(json_array_get(list, 0)) : json_pack("{s:O}", "files", list);
  json_decref(list);
  sbx_file_list_free(&files);
}

static void tell_content(call_t* call, sbx_code code, sbx_bytes* bytes, sbx_error** err) {
  if (!good(call, code, err)) return;
  call->fields = json_pack("{s:o}", "content", text_of(sbx_bytes_view(bytes)));
  sbx_bytes_free(&bytes);
}

static sbx_write_options write_options(call_t* call) {
  sbx_write_options options = SBX_WRITE_OPTIONS_INIT;
  options.append = arg_flag(call, "append", false);
  options.exclusive = arg_flag(call, "exclusive", false);
  options.make_parents = arg_flag(call, "make_parents", false);
  options.mode = arg_mode(call, "mode");
  return options;
}

static void stream_write(call_t* call, sbx_sandbox* sandbox) {
  const sbx_view path = view_of(arg_text(call, "path")), content = view_of(arg_text(call, "content"));
  const size_t piece = (size_t)arg_number(call, "piece", 65536);
  const sbx_write_options options = write_options(call);
  sbx_writer* writer = NULL;
  sbx_error* err = NULL;
  if (!good(call, sbx_fs_open_writer(sandbox, path, &options, &writer, &err), &err)) return;
  for (size_t at = 0; at < content.size && call->error == NULL; at += piece) {
    const size_t left = content.size - at;
    good(call, sbx_writer_write(writer, (sbx_view){content.data + at, left < piece ? left : piece}, &err), &err);
  }
  sbx_transfer transfer = SBX_TRANSFER_INIT;
  if (call->error == NULL && good(call, sbx_writer_finish(writer, &transfer, &err), &err)) {
    call->fields = json_pack("{s:o}", "bytes", number_of(transfer.bytes));
  }
  sbx_writer_free(&writer);
}

static void abandon_write(call_t* call, sbx_sandbox* sandbox) {
  sbx_writer* writer = NULL;
  sbx_error* err = NULL;
  const sbx_view path = view_of(arg_text(call, "path"));
  if (!good(call, sbx_fs_open_writer(sandbox, path, NULL, &writer, &err), &err)) return;
  done(call, sbx_writer_write(writer, view_of(arg_text(call, "content")), &err), &err);
  sbx_writer_free(&writer);
}

static void stream_read(call_t* call, sbx_sandbox* sandbox) {
  sbx_reader* reader = NULL;
  sbx_error* err = NULL;
  char* content = NULL;
  size_t size = 0;
  if (!good(call, sbx_fs_open_reader(sandbox, view_of(arg_text(call, "path")), &reader, &err), &err)) return;
  for (;;) {
    sbx_bytes* piece = NULL;
    if (!good(call, sbx_reader_read(reader, &piece, &err), &err)) break;
    if (piece == NULL) {
      call->fields = json_pack("{s:o}", "content", text_of((sbx_view){content, size}));
      break;
    }
    const sbx_view view = sbx_bytes_view(piece);
    content = realloc(content, size + view.size + 1);
    if (content == NULL) abort();
    memcpy(content + size, view.data, view.size);
    size += view.size;
    sbx_bytes_free(&piece);
  }
  free(content);
  sbx_reader_free(&reader);
}

static void tell_transfer(call_t* call, sbx_code code, const sbx_transfer* transfer, sbx_error** err) {
  if (!good(call, code, err)) return;
  call->fields = json_pack("{s:o, s:o, s:o}", "entries", number_of(transfer->entries), "bytes",
                           number_of(transfer->bytes), "skipped", number_of(transfer->skipped));
}

static int index_of(call_t* call, const char* const* names, int count, const json_t* wanted) {
  for (int i = 0; i < count; ++i) {
    if (wanted != NULL && strcmp(names[i], json_string_value(wanted)) == 0) return i;
  }
  surprise(call->teller, "unknown name");
  return 0;
}

static void find(call_t* call, sbx_sandbox* sandbox) {
  sbx_find_options options = SBX_FIND_OPTIONS_INIT;
  if (arg_has(call, "type")) options.type = (sbx_file_type)index_of(call, kTypes, 8, arg_text(call, "type"));
  options.max_depth = (uint32_t)arg_number(call, "max_depth", 0);
  options.max_results = (uint64_t)arg_number(call, "max_results", 0);
  sbx_file_list* files = NULL;
  sbx_error* err = NULL;
  const sbx_view root = view_of(arg_text(call, "root"));
  const sbx_code code = sbx_fs_find(sandbox, root, view_of(arg_text(call, "pattern")), &options, &files, &err);
  tell_files(call, code, files, &err, false);
}

static void tell_event(call_t* call, const sbx_file_event* event) {
  call->fields = json_pack("{s:s, s:o, s:o, s:s}", "change", kChanges[event->change], "path", text_of(event->path),
                           "old_path", text_of(event->old_path), "type", kTypes[event->type]);
}

static void watch_until(call_t* call, sbx_watch* watch) {
  const sbx_view path = view_of(arg_text(call, "path"));
  const int change = index_of(call, kChanges, 7, arg_text(call, "change"));
  const int64_t deadline = clock_ms() + arg_number(call, "timeout_ms", 10000);
  for (;;) {
    sbx_file_event event = SBX_FILE_EVENT_INIT;
    sbx_error* err = NULL;
    if (!good(call, sbx_watch_next(watch, left_ms(deadline), &event, &err), &err)) return;
    if ((int)event.change == change && event.path.size == path.size &&
        memcmp(event.path.data, path.data, path.size) == 0) {
      return tell_event(call, &event);
    }
  }
}

static bool perform_on_content(call_t* call, const char* what, sbx_sandbox* sandbox) {
  sbx_error* err = NULL;
  sbx_bytes* bytes = NULL;
  sbx_transfer transfer = SBX_TRANSFER_INIT;
  if (strcmp(what, "read") == 0) {
    const uint64_t max = (uint64_t)arg_number(call, "max", 0);
    const sbx_code code = sbx_fs_read(sandbox, view_of(arg_text(call, "path")), max, &bytes, &err);
    tell_content(call, code, bytes, &err);
  } else if (strcmp(what, "read_range") == 0) {
    const uint64_t offset = (uint64_t)arg_number(call, "offset", 0), length = (uint64_t)arg_number(call, "length", 0);
    const sbx_code code = sbx_fs_read_range(sandbox, view_of(arg_text(call, "path")), offset, length, &bytes, &err);
    tell_content(call, code, bytes, &err);
  } else if (strcmp(what, "write") == 0) {
    const sbx_write_options options = write_options(call);
    const sbx_view path = view_of(arg_text(call, "path"));
    done(call, sbx_fs_write(sandbox, path, view_of(arg_text(call, "content")), &options, &err), &err);
  } else if (strcmp(what, "stream_read") == 0) {
    stream_read(call, sandbox);
  } else if (strcmp(what, "stream_write") == 0) {
    stream_write(call, sandbox);
  } else if (strcmp(what, "abandon_write") == 0) {
    abandon_write(call, sandbox);
  } else if (strcmp(what, "upload") == 0 || strcmp(what, "download") == 0) {
    const sbx_view path = view_of(arg_text(call, "path")), host_path = view_of(arg_text(call, "host_path"));
    const sbx_code code = what[0] == 'u' ? sbx_fs_upload(sandbox, host_path, path, &transfer, &err)
                                         : sbx_fs_download(sandbox, path, host_path, &transfer, &err);
    tell_transfer(call, code, &transfer, &err);
  } else {
    return false;
  }
  return true;
}

static bool perform_on_names(call_t* call, const char* what, sbx_sandbox* sandbox) {
  sbx_error* err = NULL;
  sbx_file_list* files = NULL;
  if (strcmp(what, "find") == 0) {
    find(call, sandbox);
  } else if (strcmp(what, "rename") == 0) {
    const sbx_view from = view_of(arg_text(call, "from"));
    done(call, sbx_fs_rename(sandbox, from, view_of(arg_text(call, "to")), &err), &err);
  } else if (strcmp(what, "copy") == 0) {
    uint64_t bytes = 0;
    const sbx_view from = view_of(arg_text(call, "from"));
    if (good(call, sbx_fs_copy(sandbox, from, view_of(arg_text(call, "to")), &bytes, &err), &err)) {
      call->fields = json_pack("{s:o}", "bytes", number_of(bytes));
    }
  } else if (strcmp(what, "symlink") == 0) {
    const sbx_view target = view_of(arg_text(call, "target"));
    done(call, sbx_fs_symlink(sandbox, target, view_of(arg_text(call, "path")), &err), &err);
  } else if (strcmp(what, "list") == 0) {
    const sbx_code code = sbx_fs_list(sandbox, view_of(arg_text(call, "path")), &files, &err);
    tell_files(call, code, files, &err, false);
  } else if (strcmp(what, "stat") == 0) {
    const bool follow = arg_flag(call, "follow", true);
    const sbx_code code = sbx_fs_stat(sandbox, view_of(arg_text(call, "path")), follow, &files, &err);
    tell_files(call, code, files, &err, true);
  } else if (strcmp(what, "mkdir") == 0) {
    done(call, sbx_fs_mkdir(sandbox, view_of(arg_text(call, "path")), &err), &err);
  } else if (strcmp(what, "remove") == 0) {
    const bool recursive = arg_flag(call, "recursive", false);
    done(call, sbx_fs_remove(sandbox, view_of(arg_text(call, "path")), recursive, &err), &err);
  } else if (strcmp(what, "chmod") == 0) {
    const uint32_t mode = arg_mode(call, "mode");
    done(call, sbx_fs_chmod(sandbox, view_of(arg_text(call, "path")), mode, &err), &err);
  } else if (strcmp(what, "watch") == 0) {
    sbx_watch* watch = NULL;
    const bool recursive = arg_flag(call, "recursive", true);
    done(call, sbx_fs_watch(sandbox, view_of(arg_text(call, "path")), recursive, &watch, &err), &err);
    call->kind = kWatch;
    call->object = watch;
  } else {
    return false;
  }
  return true;
}

bool perform_on_files(call_t* call) {
  const char* what = call->operation;
  if (strcmp(what, "watch.until") == 0) return watch_until(call, object_of(call, kWatch)), true;
  if (strcmp(what, "watch.next") == 0) {
    sbx_file_event event = SBX_FILE_EVENT_INIT;
    sbx_error* err = NULL;
    if (good(call, sbx_watch_next(object_of(call, kWatch), arg_number(call, "timeout_ms", 0), &event, &err), &err))
      tell_event(call, &event);
    return true;
  }
  if (strncmp(what, "fs.", 3) != 0) return false;
  sbx_sandbox* sandbox = object_of(call, kSandbox);
  return perform_on_content(call, what + 3, sandbox) || perform_on_names(call, what + 3, sandbox);
}
