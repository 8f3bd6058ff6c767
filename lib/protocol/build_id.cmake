# cmake -DOUT=… -DSOURCES=a;b -P build_id.cmake: writes build_id.cpp. Only what the programs say to
# each other counts, not the clock or the commit, so that equal sources give equal programs.
set(text "")
foreach(source IN LISTS SOURCES)
  file(SHA256 ${source} digest)
  string(APPEND text "${digest}\n")
endforeach()
string(SHA256 digest "${text}")
string(SUBSTRING ${digest} 0 12 digest)
file(WRITE ${OUT} "#include \"protocol/build_id.hpp\"\n\n#include <sandbox/version.hpp>\n\nnamespace sandbox::protocol {\n\
std::string_view build_id() noexcept { return SANDBOX_VERSION_STRING \"+${digest}\"; }\n}  // namespace sandbox::protocol\n")
