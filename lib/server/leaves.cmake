# What decides in plain code, without connections and sandboxes: a target of its own, so that its tests build in seconds.
set(leaves auth.cpp birth.cpp config.cpp config_check.cpp config_schema.cpp config_values.cpp events.cpp log.cpp metrics.cpp
  rate_limit.cpp sqlite.cpp store.cpp store_records.cpp)
sandbox_add_module(NAME server_leaves SOURCES ${leaves} USES http rest LINK PkgConfig::sodium)
# Third parties stay behind their .cpp files.
target_link_libraries(sandbox_server_leaves PRIVATE
  PkgConfig::simdjson PkgConfig::sqlite3 PkgConfig::spdlog PkgConfig::prometheus)
# Headers only: the distribution's library of toml++ is built to throw.
target_include_directories(sandbox_server_leaves PRIVATE $<TARGET_PROPERTY:PkgConfig::tomlplusplus,INTERFACE_INCLUDE_DIRECTORIES>)
