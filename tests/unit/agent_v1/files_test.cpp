#include "tarstream/reader.hpp"
#include "tarstream/writer.hpp"
#include "unit/agent_v1/harness.hpp"

namespace sandbox::agent::v1::testing {
namespace {

class V1Files : public V1 {
 protected:
  std::string in(std::string_view name) const { return root / ("in/" + std::string(name)); }
  /// fs.write as SDKs do it.
  json::Value write(std::string_view name, const std::string& content) {
    const std::size_t chunks = (content.size() + kChunk - 1) / kChunk;
    std::string more = ",\"size\":" + std::to_string(content.size());
    if (chunks > 1) more += ",\"chunked\":true,\"chunks\":" + std::to_string(chunks);
    const int id = client->request("fs.write", at(name, more));
    for (std::size_t begin = 0; begin < content.size(); begin += kChunk) client->binary(content.substr(begin, kChunk));
    return client->answer(id);
  }
  /// fs.read: content, and the sizes of its messages.
  std::string read(std::string_view name, std::vector<std::size_t>* sizes = nullptr, json::Value* result = nullptr) {
    const auto answer = client->call("fs.read", at(name));
    if (result) *result = answer;
    std::string all;
    for (const auto& piece : client->take_binary()) {
      all += piece;
      if (sizes) sizes->push_back(piece.size());
    }
    return all;
  }
  static std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 2654435761u >> 13);
    return text;
  }
};

TEST_F(V1Files, WhatIsWrittenIsRead) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk, 5 * kChunk + 77}) {
    const auto content = pattern(size);
    EXPECT_TRUE(client->result_of(write("deep/er/file", content)).find("success")->boolean);
    std::vector<std::size_t> sizes;
    json::Value result;
    EXPECT_TRUE(read("deep/er/file", &sizes, &result) == content) << size;
    EXPECT_EQ(result.find("size")->integer, static_cast<std::int64_t>(size));
    EXPECT_EQ(result.find("chunks")->integer, static_cast<std::int64_t>((size + kChunk - 1) / kChunk));
    EXPECT_EQ(result.find("chunked")->boolean, size > kChunk);
    ASSERT_EQ(sizes.size(), (size + kChunk - 1) / kChunk);
    for (std::size_t i = 0; i + 1 < sizes.size(); ++i) EXPECT_EQ(sizes[i], kChunk);
  }
  struct stat info;
  ASSERT_EQ(::stat(in("deep/er/file").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

TEST_F(V1Files, AnEmptyFileNeedsNoMessageAndIsReadAsOne) {
  EXPECT_TRUE(client->result_of(write("empty", "")).find("success")->boolean);
  EXPECT_TRUE(fs::exists(in("empty")));
  std::vector<std::size_t> sizes;
  EXPECT_EQ(read("empty", &sizes), "");
  EXPECT_EQ(sizes, std::vector<std::size_t>{0});
  // One who does send an empty message must not disturb the next request.
  const int first = client->request("fs.write", at("empty", ",\"size\":0"));
  client->binary("");
  const int second = client->request("fs.write", at("full", ",\"size\":4"));
  client->binary("full");
  client->answer(first);
  client->answer(second);
  EXPECT_EQ(Root::content(in("full")), "full");
}

TEST_F(V1Files, WithoutASizeOneMessageIsAllContent) {
  const int id = client->request("fs.write", at("f"));
  client->binary("whole");
  client->answer(id);
  EXPECT_EQ(Root::content(in("f")), "whole");
}

TEST_F(V1Files, ContentBelongsToTheRequestsInTheirOrder) {
  const int a = client->request("fs.write", at("a", ",\"size\":1"));
  const int b = client->request("fs.write", at("b", ",\"size\":1"));
  client->binary("A");
  client->binary("B");
  client->answer(a);
  client->answer(b);
  EXPECT_EQ(Root::content(in("a")) + Root::content(in("b")), "AB");
}

TEST_F(V1Files, ARefusedWriteSwallowsItsContent) {
  const int refused = client->request("fs.write", R"({"path":"/etc/shadow","size":3})");
  client->binary("bad");
  const int good = client->request("fs.write", at("good", ",\"size\":4"));
  client->binary("good");
  const auto [code, text] = RawClient::refusal_of(client->answer(refused));
  EXPECT_EQ(code, -32000);
  EXPECT_EQ(text, "access denied: path \"/etc/shadow\" is outside allowed directories");
  client->answer(good);
  EXPECT_EQ(Root::content(in("good")), "good");
}

TEST_F(V1Files, AFileKeepsItsModeAndAppearsOnlyComplete) {
  root.write("in/run", "old");
  ::chmod(in("run").c_str(), 0755);
  const int id = client->request("fs.write", at("run", ",\"size\":2097152,\"chunked\":true,\"chunks\":2"));
  client->binary(std::string(kChunk, 'n'));
  client->call("env.list");
  EXPECT_EQ(Root::content(in("run")), "old");
  client->binary(std::string(kChunk, 'n'));
  client->answer(id);
  EXPECT_EQ(fs::file_size(in("run")), 2 * kChunk);
  struct stat info;
  ASSERT_EQ(::stat(in("run").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0755u);
}

TEST_F(V1Files, ErrorsSayWhatTheOriginalSays) {
  fs::create_directory(in("d"));
  root.write("in/d/f", "x");
  EXPECT_EQ(client->refusal("fs.read", at("zz")).second, "read file: open " + in("zz") + ": no such file or directory");
  EXPECT_EQ(client->refusal("fs.read", at("d")).second, "read file: read " + in("d") + ": is a directory");
  EXPECT_TRUE(client->take_binary().empty());
  EXPECT_EQ(client->refusal("fs.stat", at("zz")).second, "stat: stat " + in("zz") + ": no such file or directory");
  EXPECT_EQ(client->refusal("fs.list", at("zz")).second, "read dir: open " + in("zz") + ": no such file or directory");
  EXPECT_EQ(client->refusal("fs.remove", at("zz")).second, "remove: remove " + in("zz") + ": no such file or directory");
  EXPECT_EQ(client->refusal("fs.remove", at("d")).second, "remove: remove " + in("d") + ": directory not empty");
  EXPECT_EQ(client->refusal("fs.mkdir", at("d")).second, "mkdir: mkdir " + in("d") + ": file exists");
  EXPECT_EQ(client->refusal("fs.download", at("zz")).second, "stat: stat " + in("zz") + ": no such file or directory");
  EXPECT_EQ(client->refusal("fs.read", "{}").second, "path is required");
  EXPECT_EQ(client->refusal("fs.read", R"({"path":7})").second, "invalid params: path must be a string");
  const auto through = RawClient::refusal_of(write("d/f/g", "x")).second;
  EXPECT_EQ(through, "create parent dirs: mkdir " + in("d/f") + ": not a directory");
  EXPECT_EQ(RawClient::refusal_of(write("d", "x")).second, "write file: open " + in("d") + ": is a directory");
}

TEST_F(V1Files, DeniesPathsElsewhereForEveryMethod) {
  for (const std::string path : {"/etc/shadow", "/root/../../../etc/passwd", "/proc", "/proc/1/environ", "/proc/sysrq-trigger", "/etc/resolv.conf"}) {
    const std::string params = "{\"path\":\"" + path + "\"}";
    for (const char* method : {"fs.read", "fs.list", "fs.stat", "fs.remove", "fs.mkdir", "fs.download"}) {
      const auto [code, text] = client->refusal(method, params);
      EXPECT_EQ(code, -32000);
      EXPECT_EQ(text, "access denied: path \"" + path + "\" is outside allowed directories") << method;
    }
    EXPECT_NE(client->refusal("fs.rename", "{\"old\":\"" + path + "\",\"new\":\"x\"}").second.find("access denied"), std::string::npos);
  }
}

TEST_F(V1Files, ListsWithBothSpellings) {
  fs::create_directory(in("sub"));
  root.write("in/b", "12345");
  fs::create_symlink("/etc/passwd", in("a"));
  ::chmod(in("sub").c_str(), 0755);
  const auto list = client->call("fs.list", at(""));
  ASSERT_EQ(list.kind, json::Kind::array);
  ASSERT_EQ(list.items.size(), 3u);
  EXPECT_EQ(list.items[0].find("name")->text, "a");
  EXPECT_EQ(list.items[0].find("mode")->integer & (1 << 27), 1 << 27);   // the link itself
  EXPECT_EQ(list.items[1].find("name")->text, "b");
  EXPECT_EQ(list.items[1].find("size")->integer, 5);
  EXPECT_FALSE(list.items[1].find("is_dir")->boolean);
  EXPECT_EQ(list.items[2].find("name")->text, "sub");
  EXPECT_TRUE(list.items[2].find("is_dir")->boolean);
  EXPECT_TRUE(list.items[2].find("isDir")->boolean);
  EXPECT_EQ(list.items[2].find("mode")->integer, 2147484141);
  EXPECT_EQ(list.items[2].find("mod_time")->text.back(), 'Z');
  EXPECT_GT(list.items[2].find("modTime")->integer, 1600000000);
  fs::create_directory(in("none"));
  EXPECT_TRUE(client->call("fs.list", at("none")).items.empty());
}

TEST_F(V1Files, ListsManyEntriesSorted) {
  fs::create_directory(in("many"));
  for (int i = 0; i < 1000; ++i) root.write("in/many/" + std::to_string(i), "");
  const auto list = client->call("fs.list", at("many"));
  ASSERT_EQ(list.items.size(), 1000u);
  for (std::size_t i = 1; i < list.items.size(); ++i) EXPECT_LT(list.items[i - 1].find("name")->text, list.items[i].find("name")->text);
}

TEST_F(V1Files, StatsFollowLinksThatStay) {
  root.write("in/f", "12345");
  fs::create_symlink("f", in("link"));
  fs::create_symlink("/etc/passwd", in("out"));
  const auto info = client->call("fs.stat", at("link"));
  EXPECT_EQ(info.find("size")->integer, 5);
  EXPECT_EQ(info.find("name")->text, "link");
  EXPECT_EQ(client->refusal("fs.stat", at("out")).second, "access denied: path \"" + in("out") + "\" is outside allowed directories");
}

TEST_F(V1Files, RemovesTheLinkAndNotItsTarget) {
  root.write("in/f", "kept");
  fs::create_symlink("f", in("link"));
  client->call("fs.remove", at("link"));
  EXPECT_FALSE(fs::is_symlink(in("link")));
  EXPECT_EQ(Root::content(in("f")), "kept");
}

TEST_F(V1Files, RemovesTreesAndToleratesNothingOnlyWhenRecursive) {
  fs::create_directories(in("t/a/b"));
  root.write("in/t/a/b/f", "x");
  client->call("fs.remove", at("t", ",\"recursive\":true"));
  EXPECT_FALSE(fs::exists(in("t")));
  client->call("fs.remove", at("t", ",\"recursive\":true"));
  client->call("fs.remove", at("no/where", ",\"recursive\":true"));
  EXPECT_NE(client->refusal("fs.remove", at("", ",\"recursive\":true")).second.find("remove: "), std::string::npos);
  EXPECT_TRUE(fs::exists(in("")));
}

TEST_F(V1Files, RenamesInBothSpellings) {
  root.write("in/a", "x");
  client->call("fs.rename", "{\"old\":\"" + in("a") + "\",\"new\":\"" + in("b") + "\"}");
  client->call("fs.rename", "{\"oldPath\":\"" + in("b") + "\",\"newPath\":\"" + in("c") + "\",\"sandbox_id\":\"x\"}");
  EXPECT_EQ(Root::content(in("c")), "x");
  EXPECT_EQ(client->refusal("fs.rename", "{\"old\":\"" + in("a") + "\",\"new\":\"" + in("b") + "\"}").second,
            "rename: rename " + in("a") + " " + in("b") + ": no such file or directory");
  EXPECT_EQ(client->refusal("fs.rename", "{\"old\":\"" + in("c") + "\"}").second, "path is required");
}

TEST_F(V1Files, MakesDirectories) {
  client->call("fs.mkdir", at("one"));
  client->call("fs.mkdir", at("one", ",\"recursive\":true"));
  client->call("fs.mkdir", at("x/y/z", ",\"recursive\":true"));
  EXPECT_TRUE(fs::is_directory(in("x/y/z")));
  EXPECT_EQ(client->refusal("fs.mkdir", at("q/r")).second, "mkdir: mkdir " + in("q/r") + ": no such file or directory");
}

TEST_F(V1Files, ReadsWaitForEachOther) {
  root.write("in/a", std::string(3 * kChunk, 'a'));
  root.write("in/b", std::string(2 * kChunk, 'b'));
  const int first = client->request("fs.read", at("a")), second = client->request("fs.read", at("b"));
  ASSERT_TRUE(harness.run_until([&] {
    return !client->messages.empty() && client->messages.back().json.find("id") && client->messages.back().json.find("id")->integer == second;
  }));
  std::string order;
  for (const auto& message : client->messages) order += message.binary ? message.payload.substr(0, 1) : "|";
  EXPECT_EQ(order, "aaa|bb|");
  client->answer(first);
}

// ---- archives -------------------------------------------------------------------------------------------------------

std::string member(std::string name, std::string content, tarstream::Kind kind = tarstream::Kind::file, std::uint32_t mode = 0644) {
  tarstream::Member member;
  member.name = std::move(name);
  member.kind = kind;
  member.mode = mode;
  if (kind == tarstream::Kind::symlink || kind == tarstream::Kind::hardlink) member.link = content, content.clear();
  member.size = content.size();
  return tarstream::encode_header(member) + content + std::string(tarstream::padding(content.size()), '\0');
}

class V1Archives : public V1Files {
 protected:
  json::Value upload(std::string_view name, const std::string& tar, std::size_t piece = kChunk) {
    const int id = client->request("fs.upload", at(name, ",\"size\":" + std::to_string(tar.size())));
    for (std::size_t begin = 0; begin < tar.size(); begin += piece) client->binary(tar.substr(begin, piece));
    return client->answer(id);
  }
};

TEST_F(V1Archives, UploadsFilesAndDirectoriesOfAnySize) {
  const auto large = pattern(3 * kChunk + 5);
  const std::string tar = member("./", "", tarstream::Kind::directory) + member("d/", "", tarstream::Kind::directory) +
                          member("d/run", "#!", tarstream::Kind::file, 0755) + member("new/large", large) + std::string(1024, '\0');
  EXPECT_TRUE(client->result_of(upload("target", tar)).find("success")->boolean);
  EXPECT_TRUE(Root::content(in("target/new/large")) == large);
  struct stat info;
  ASSERT_EQ(::stat(in("target/d/run").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0755u);
  upload("pieces", tar, 1000);
  EXPECT_TRUE(Root::content(in("pieces/new/large")) == large);
}

TEST_F(V1Archives, UploadsManySmallFilesInTurnsWithOthers) {
  std::string tar;
  for (int i = 0; i < 2000; ++i) tar += member("f" + std::to_string(i), "x");
  tar += std::string(1024, '\0');
  EXPECT_TRUE(client->result_of(upload("many", tar)).find("success")->boolean);
  EXPECT_EQ(std::distance(fs::directory_iterator(in("many")), fs::directory_iterator()), 2000);
}

TEST_F(V1Archives, RefusesLinksAndEscapes) {
  const std::string end(1024, '\0');
  EXPECT_EQ(RawClient::refusal_of(upload("t", member("l", "/etc/passwd", tarstream::Kind::symlink) + end)).second,
            "tar entry \"l\": symlinks and hard links are not allowed");
  EXPECT_EQ(RawClient::refusal_of(upload("t", member("l", "f", tarstream::Kind::hardlink) + end)).second,
            "tar entry \"l\": symlinks and hard links are not allowed");
  const auto escape = RawClient::refusal_of(upload("t", member("../../../etc/passwd", "x") + end)).second;
  EXPECT_TRUE(escape.starts_with("tar entry \"../../../etc/passwd\": access denied: ")) << escape;
  fs::create_symlink("/etc", in("t/etc"));
  const auto through = RawClient::refusal_of(upload("t", member("etc/x", "x") + end)).second;
  EXPECT_TRUE(through.starts_with("tar entry \"etc/x\": access denied: ")) << through;
  const auto nonsense = RawClient::refusal_of(upload("t", std::string(512, 'x')));
  EXPECT_TRUE(nonsense.second.starts_with("read tar: ")) << nonsense.second;
  EXPECT_TRUE(client->result_of(write("after", "ok")).find("success")->boolean);
}

TEST_F(V1Archives, WhatWasDownloadedCanBeUploaded) {
  fs::create_directories(in("src/sub/empty"));
  root.write("in/src/a", "aaa");
  const auto large = pattern(2 * kChunk + 9);
  root.write("in/src/sub/large", large);
  const auto size = client->call("fs.download", at("src")).find("size")->integer;
  std::string tar;
  for (const auto& piece : client->take_binary()) {
    EXPECT_LE(piece.size(), kChunk);
    tar += piece;
  }
  EXPECT_EQ(static_cast<std::size_t>(size), tar.size());
  tarstream::Reader reader;
  ByteView rest = as_bytes(std::string_view(tar));
  ASSERT_EQ(reader.next(rest).value(), tarstream::Reader::Event::member);
  EXPECT_EQ(reader.member().name, ".");   // the reader drops the slash that the archive has
  EXPECT_NE(tar.find(std::string("./\0", 3)), std::string::npos);
  EXPECT_EQ(reader.member().kind, tarstream::Kind::directory);
  EXPECT_TRUE(client->result_of(upload("copy", tar)).find("success")->boolean);
  EXPECT_EQ(Root::content(in("copy/a")), "aaa");
  EXPECT_TRUE(Root::content(in("copy/sub/large")) == large);
  EXPECT_TRUE(fs::is_directory(in("copy/sub/empty")));
}

TEST_F(V1Archives, DownloadsOneFileAndLinksAsLinks) {
  root.write("in/f", "hello");
  client->call("fs.download", at("f"));
  std::string tar;
  for (const auto& piece : client->take_binary()) tar += piece;
  tarstream::Reader reader;
  ByteView rest = as_bytes(std::string_view(tar));
  ASSERT_EQ(reader.next(rest).value(), tarstream::Reader::Event::member);
  EXPECT_EQ(reader.member().name, "f");
  EXPECT_EQ(reader.member().size, 5u);
  ASSERT_EQ(reader.next(rest).value(), tarstream::Reader::Event::data);
  EXPECT_EQ(as_text(reader.data()), "hello");

  fs::create_directory(in("links"));
  fs::create_symlink("/etc/passwd", in("links/out"));
  fs::create_symlink("nowhere", in("links/dangling"));
  client->call("fs.download", at("links"));
  tar.clear();
  for (const auto& piece : client->take_binary()) tar += piece;
  EXPECT_EQ(tar.find("root:"), std::string::npos);
  EXPECT_NE(tar.find("/etc/passwd"), std::string::npos);
}

TEST_F(V1Archives, AClientThatLeavesInTheMiddleLeavesNothingBehind) {
  const int id = client->request("fs.write", at("half", ",\"size\":100"));
  client->binary("only one of two");
  (void)id;
  client->request("fs.write", at("half2", ",\"size\":2097152,\"chunked\":true,\"chunks\":2"));
  client->binary(std::string(kChunk, 'x'));
  root.write("in/large", std::string(20 * kChunk, 'l'));
  client->stream().reading = false;
  client->request("fs.download", at(""));
  ASSERT_TRUE(harness.run_until([&] { return client->stream().received > 100000; }));
  client->cancel();
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  client = std::make_unique<RawClient>(harness);
  EXPECT_FALSE(fs::exists(in("half2")));
  const auto list = client->call("fs.list", at(""));
  EXPECT_EQ(list.items.size(), 2u);   // half and large, no temporary file
}

}  // namespace
}  // namespace sandbox::agent::v1::testing
