#pragma once

#include "command.hpp"

/// One function per command, each in the file of its name: the table entry with everything the command is.
namespace sbx::commands {

Command create();
Command ls();
Command rm();
Command stats();
Command exec();
Command attach();
Command run();

Command fs_read();
Command fs_write();
Command fs_ls();
Command fs_upload();
Command fs_download();

Command tpl_save();
Command tpl_ls();
Command tpl_rm();
Command tpl_prune();
Command build();

Command pool_status();
Command pool_resize();
Command pool_flush();
Command events();
Command health();
Command host();
Command prove();
Command version();

Command keygen();
Command completion();
/// `sbx __complete -- WORDS…`: what the completion scripts ask. Reads both references when it runs.
Command complete_words(const CommandTable& table, const std::vector<Option>& common);

}  // namespace sbx::commands
