#include "completion.hpp"

#include <algorithm>

namespace sbx {

namespace {

constexpr std::string_view kBash = R"(# sbx completion for bash:  source <(sbx completion bash)
_sbx() {
  local line kind=
  COMPREPLY=()
  local current="${COMP_WORDS[COMP_CWORD]}"
  while IFS= read -r line; do
    case "$line" in
      :*) kind="${line#:}" ;;
      *) COMPREPLY+=("${line%%$'\t'*}") ;;
    esac
  done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  case "$kind" in
    files) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current") ;;
    directories) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$current") ;;
  esac
}
complete -F _sbx sbx
)";

constexpr std::string_view kZsh = R"(#compdef sbx
# sbx completion for zsh:  sbx completion zsh > "${fpath[1]}/_sbx"
_sbx() {
  local line kind
  local -a found
  for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case "$line" in
      '') ;;
      :*) kind="${line#:}" ;;
      *) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
    esac
  done
  (( ${#found} )) && _describe sbx found
  case "$kind" in
    files) _files ;;
    directories) _files -/ ;;
  esac
}
if [ "$funcstack[1]" = _sbx ]; then _sbx "$@"; else compdef _sbx sbx; fi
)";

constexpr std::string_view kFish = R"(# sbx completion for fish:  sbx completion fish | source
function __sbx_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':directories'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end
complete -c sbx -f -a '(__sbx_complete)'
)";

void offer(Completion& result, std::string_view typed, std::string word, std::string help) {
  const auto same = [&](const Candidate& candidate) { return candidate.word == word; };
  if (word.starts_with(typed) && std::ranges::none_of(result.candidates, same))
    result.candidates.push_back({std::move(word), std::move(help)});
}

void offer_values(Completion& result, const Option& option, std::string_view typed, const std::string& prefix, const Lookup& lookup) {
  switch (option.completes) {
    case Completes::nothing: break;
    case Completes::files:
    case Completes::directories: result.also = option.completes; break;
    case Completes::words:
      for (const auto& word : option.words) offer(result, typed, prefix + word, "");
      break;
    case Completes::sandboxes:
    case Completes::templates:
    case Completes::profiles:
      for (auto& candidate : lookup(option.completes)) offer(result, typed, prefix + candidate.word, std::move(candidate.help));
      break;
  }
}

void offer_options(Completion& result, const std::vector<Option>& options, std::string_view typed) {
  for (const auto& option : options) {
    if (option.is_positional() || option.names.find("--") == std::string::npos) continue;
    offer(result, typed, "--" + option.long_name(), option.help);
  }
}

const Option* find_option(const std::vector<Option>& own, const std::vector<Option>& common, std::string_view word) {
  const auto named = [&](const Option& option) {
    if (option.is_positional()) return false;
    if (word.size() == 2 && word[1] != '-') return option.short_name() == word[1];
    return word.substr(word.starts_with("--") ? 2 : 1) == option.long_name();
  };
  for (const auto* options : {&own, &common}) {
    if (const auto found = std::ranges::find_if(*options, named); found != options->end()) return &*found;
  }
  return nullptr;
}

/// The words of a command up to the cursor.
Completion complete_command(const Command& command, const std::vector<Option>& common, const std::vector<std::string>& words, std::size_t i,
                            const Lookup& lookup) {
  Completion result;
  std::vector<const Option*> positionals;
  for (const auto& option : command.options) {
    if (option.is_positional()) positionals.push_back(&option);
  }
  const std::string& typed = words.back();
  std::size_t next = 0;
  for (; i + 1 < words.size(); ++i) {
    const auto& word = words[i];
    if (word == "--") {
      if (command.rest != nullptr) return result;  // a program of the sandbox: not known here
      continue;
    }
    if (word.size() > 1 && word[0] == '-') {
      const Option* option = find_option(command.options, common, word);
      if (option == nullptr || option->is_flag() || word.find('=') != std::string::npos) continue;
      if (i + 2 == words.size()) {
        offer_values(result, *option, typed, "", lookup);
        return result;
      }
      ++i;
      continue;
    }
    if (next == positionals.size()) return result;
    if (!positionals[next]->is_list()) ++next;
  }
  if (typed.starts_with("-")) {
    if (const auto equals = typed.find('='); equals != std::string::npos) {
      if (const Option* option = find_option(command.options, common, typed.substr(0, equals))) {
        offer_values(result, *option, typed, typed.substr(0, equals + 1), lookup);
      }
      return result;
    }
    offer_options(result, command.options, typed);
    offer_options(result, common, typed);
    offer(result, typed, "--help", "What it does, with examples");
    return result;
  }
  if (next < positionals.size()) offer_values(result, *positionals[next], typed, "", lookup);
  return result;
}

}  // namespace

Completion complete(const CommandTable& table, const std::vector<Option>& common, const std::vector<std::string>& words,
                    const Lookup& lookup) {
  Completion result;
  if (words.empty()) return result;
  const std::string& typed = words.back();
  std::size_t i = 0;
  // Common options before the command.
  for (; i + 1 < words.size() && words[i].starts_with("-"); ++i) {
    const Option* option = find_option({}, common, words[i]);
    if (option != nullptr && !option->is_flag() && words[i].find('=') == std::string::npos) ++i;
  }
  if (i >= words.size()) return result;
  const bool in_group = i + 1 < words.size() && table.is_group(words[i]);
  if (i + 1 == words.size() || (in_group && i + 2 == words.size())) {
    const std::string prefix = in_group ? words[i] + " " : "";
    for (const auto& command : table.commands) {
      if (command.hidden || !command.path.starts_with(prefix)) continue;
      const auto name = command.path.substr(prefix.size());
      if (name.find(' ') == std::string::npos) offer(result, typed, name, command.help);
    }
    if (!in_group) {
      for (const auto& group : table.groups) offer(result, typed, group.name, group.help);
      if (typed.starts_with("-")) offer_options(result, common, typed);
    }
    return result;
  }
  const auto* command = table.find(in_group ? words[i] + " " + words[i + 1] : words[i]);
  return command == nullptr ? result : complete_command(*command, common, words, i + (in_group ? 2 : 1), lookup);
}

std::string_view completion_script(std::string_view shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return {};
}

}  // namespace sbx
