#include "server/router.hpp"

#include <gtest/gtest.h>

namespace sandbox::server {
namespace {

Match get(std::string_view path) { return match_route("GET", path, false); }

TEST(Router, FindsWhatTheTableLists) {
  EXPECT_EQ(match_route("POST", "/sandboxes", false).route, Route::create_sandbox);
  const Match one = match_route("DELETE", "/sandboxes/sbx-1", false);
  EXPECT_EQ(one.kind, Match::Kind::route);
  EXPECT_EQ(one.route, Route::destroy_sandbox);
  EXPECT_EQ(one.id, "sbx-1");
  EXPECT_EQ(one.pattern, "/sandboxes/:id");
  EXPECT_EQ(get("/events/history").route, Route::event_history);
  EXPECT_EQ(match_route("PUT", "/pools/big%20one", false).id, "big one");
  EXPECT_EQ(match_route("PUT", "/pools/x", false).guard, Guard::admin);
  EXPECT_EQ(get("/health").guard, Guard::none);
  EXPECT_EQ(get("/sandboxes").guard, Guard::tenant);
}

TEST(Router, TakesHeadWhereverGetIs) {
  EXPECT_EQ(match_route("HEAD", "/sandboxes", false).route, Route::list_sandboxes);
  EXPECT_EQ(match_route("HEAD", "/health", false).kind, Match::Kind::route);
  EXPECT_EQ(match_route("HEAD", "/pools/x/flush", false).kind, Match::Kind::wrong_method);
}

TEST(Router, CountsTrailingSlashes) {
  EXPECT_EQ(get("/sandboxes/").kind, Match::Kind::not_found);
  EXPECT_EQ(get("/health/").kind, Match::Kind::not_found);
  EXPECT_EQ(get("/sandboxes/x/ports/").kind, Match::Kind::not_found);
  EXPECT_EQ(get("/").kind, Match::Kind::not_found);
}

TEST(Router, NamesTheMethodsAPathTakes) {
  const Match match = match_route("PATCH", "/sandboxes", false);
  EXPECT_EQ(match.kind, Match::Kind::wrong_method);
  EXPECT_EQ(match.allow, "GET, HEAD, POST");
  EXPECT_EQ(match.pattern, "/sandboxes");
  EXPECT_EQ(match_route("OPTIONS", "/templates/tpl-1", false).allow, "DELETE, GET, HEAD");
  EXPECT_EQ(match_route("get", "/health", false).kind, Match::Kind::wrong_method);
}

TEST(Router, RedirectsToTheCleanPath) {
  EXPECT_EQ(get("//sandboxes").location, "/sandboxes");
  EXPECT_EQ(get("/sandboxes//x").location, "/sandboxes/x");
  EXPECT_EQ(get("/a/../health").location, "/health");
  EXPECT_EQ(get("/./health").location, "/health");
  EXPECT_EQ(get("/../../x/").location, "/x/");
  EXPECT_EQ(get("/a/%2e%2e/health").location, "/health");
  EXPECT_EQ(get("/x%20y//z").location, "/x%20y/z");
  EXPECT_EQ(get("/a/..").location, "/");
  EXPECT_EQ(get("//sandboxes").kind, Match::Kind::redirect);
  // What is decoded once is not decoded again, and a slash in a segment stays in it.
  EXPECT_EQ(get("/sandboxes/%252e%252e").id, "%2e%2e");
  EXPECT_EQ(get("/sandboxes/a%2Fb").id, "a/b");
}

TEST(Router, GivesThePortsOfASandboxToItsApplications) {
  const Match bare = get("/sandboxes/s/ports/80");
  EXPECT_EQ(bare.route, Route::proxy_port);
  EXPECT_EQ(bare.rest, "/");
  EXPECT_EQ(bare.port, "80");
  const Match deep = match_route("PATCH", "/sandboxes/s/ports/80/a%20b/c/", false);
  EXPECT_EQ(deep.route, Route::proxy_port);
  EXPECT_EQ(deep.rest, "/a%20b/c/");
  EXPECT_EQ(deep.pattern, "/sandboxes/:id/ports/:port/*");
}

TEST(Router, KeepsExposeForPostAndDeleteOnly) {
  const std::string_view path = "/sandboxes/s/ports/80/expose";
  EXPECT_EQ(match_route("POST", path, false).route, Route::expose_port);
  EXPECT_EQ(match_route("DELETE", path, false).route, Route::close_port);
  EXPECT_EQ(get(path).route, Route::proxy_port);
  EXPECT_EQ(get(path).rest, "/expose");
}

TEST(Router, KeepsConnectForUpgradesOnly) {
  const std::string_view path = "/sandboxes/s/ports/80/connect";
  EXPECT_EQ(match_route("GET", path, true).route, Route::connect_port);
  EXPECT_EQ(match_route("GET", path, false).route, Route::proxy_port);
}

TEST(Router, RefusesBrokenEscapes) {
  EXPECT_EQ(get("/sandboxes/%zz").kind, Match::Kind::not_found);
  EXPECT_EQ(get("/sandboxes/%00").kind, Match::Kind::not_found);
  EXPECT_EQ(get("sandboxes").kind, Match::Kind::not_found);
  EXPECT_EQ(get("").kind, Match::Kind::not_found);
}

}  // namespace
}  // namespace sandbox::server
