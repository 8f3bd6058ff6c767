#include "arguments.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "text.hpp"

namespace sbx {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

Result<void> assign(const Option& option, const std::string& shown, const std::string& value) {
  if (option.completes == Completes::words && std::ranges::find(option.words, value) == option.words.end()) {
    std::string choices;
    for (const auto& word : option.words) choices += (choices.empty() ? "" : ", ") + word;
    return invalid(shown + ": '" + value + "' is none of " + choices);
  }
  if (auto* const* text = std::get_if<std::string*>(&option.into)) **text = value;
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&option.into)) (*list)->push_back(value);
  const char* const end = value.data() + value.size();
  if (auto* const* number = std::get_if<std::uint64_t*>(&option.into)) {
    const auto [stop, error] = std::from_chars(value.data(), end, **number);
    if (error != std::errc() || stop != end) return invalid(shown + ": '" + value + "' is not a whole number");
  }
  if (auto* const* number = std::get_if<double*>(&option.into)) {
    const auto [stop, error] = std::from_chars(value.data(), end, **number, std::chars_format::fixed);
    if (error != std::errc() || stop != end || !std::isfinite(**number) || **number <= 0) {
      return invalid(shown + ": '" + value + "' is not a number above zero");
    }
  }
  return {};
}

/// The words of one command.
class Parser {
 public:
  Parser(const std::vector<Option>& own, const std::vector<Option>& common) {
    for (const auto& option : own) {
      if (option.is_positional()) positionals_.push_back(&option);
      else options_.push_back(&option);
    }
    for (const auto& option : common) options_.push_back(&option);
  }

  const Option* by_long_name(std::string_view name) const {
    const auto found = std::ranges::find_if(options_, [&](const Option* option) {
      return option->names.find("--") != std::string::npos && option->long_name() == name;
    });
    return found == options_.end() ? nullptr : *found;
  }
  const Option* by_short_name(char name) const {
    const auto found = std::ranges::find_if(options_, [&](const Option* option) { return option->short_name() == name; });
    return found == options_.end() ? nullptr : *found;
  }

  /// Takes the option at words[i] and its value; leaves `i` at the last word used. `help` is set for --help and -h.
  Result<void> take_option(const std::vector<std::string>& words, std::size_t& i, bool& help) const {
    const std::string word = words[i];
    const bool two = word.starts_with("--");
    std::string name = word.substr(two ? 2 : 1);
    std::optional<std::string> value;
    if (const auto equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    if (name == "help" || (!two && name == "h" && by_short_name('h') == nullptr)) {
      help = true;
      return {};
    }
    // One dash and a long name is how programs of the Go library are called; a single letter stays a short name.
    const Option* option = two || name.size() > 1 ? by_long_name(name) : nullptr;
    if (option == nullptr && !two && name.size() == 1) option = by_short_name(name[0]);
    if (option != nullptr) return take_value(*option, std::string(two || name.size() > 1 ? "--" : "-") + name, std::move(value), words, i);
    if (!two) return take_cluster(word, words, i);
    return unknown(word.substr(0, word.find('=')));
  }

  const std::vector<const Option*>& positionals() const { return positionals_; }

 private:
  static Result<void> take_value(const Option& option, const std::string& shown, std::optional<std::string> value,
                                 const std::vector<std::string>& words, std::size_t& i) {
    if (auto* const* flag = std::get_if<bool*>(&option.into)) {
      if (value && *value != "true" && *value != "false") return invalid(shown + " takes no value");
      **flag = !value || *value == "true";
      return {};
    }
    if (!value) {
      if (i + 1 >= words.size()) return invalid(shown + " needs a value" + (option.value.empty() ? "" : ": " + shown + " " + option.value));
      value = words[++i];
    }
    return assign(option, shown, *value);
  }

  /// "-it": flags; "-m512m": a short name and its value.
  Result<void> take_cluster(const std::string& word, const std::vector<std::string>& words, std::size_t& i) const {
    for (std::size_t at = 1; at < word.size(); ++at) {
      const Option* option = by_short_name(word[at]);
      if (option == nullptr) return unknown(word);
      const std::string shown = std::string("-") + word[at];
      if (option->is_flag()) {
        SANDBOX_CHECK(take_value(*option, shown, std::nullopt, words, i));
        continue;
      }
      std::optional<std::string> value;
      if (at + 1 < word.size()) value = word.substr(at + 1);
      return take_value(*option, shown, std::move(value), words, i);
    }
    return {};
  }

  Error unknown(const std::string& shown) const {
    std::vector<std::string> names;
    for (const auto* option : options_) names.push_back("--" + option->long_name());
    const auto guess = nearest(shown.starts_with("--") ? shown : "-" + shown, names);
    return invalid("unknown option " + shown + (guess.empty() ? "" : "; did you mean " + guess + "?"));
  }

  std::vector<const Option*> options_, positionals_;
};

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

Error unknown_command(const CommandTable& table, const std::string& group, const std::string& word) {
  std::vector<std::string> names;
  const auto prefix = group.empty() ? std::string() : group + " ";
  for (const auto& command : table.commands) {
    if (!command.hidden && command.path.starts_with(prefix)) names.push_back(command.path.substr(prefix.size()));
  }
  if (group.empty()) {
    for (const auto& one : table.groups) names.push_back(one.name);
  }
  const auto guess = nearest(word, names);
  return invalid("unknown command '" + prefix + word + "'" + (guess.empty() ? "" : "; did you mean '" + prefix + guess + "'?"));
}

Result<void> parse_command(const Command& command, const std::vector<Option>& common, const std::vector<std::string>& words,
                           std::size_t i, Request& request) {
  const Parser parser(command.options, common);
  std::size_t next = 0;  // positional argument
  bool plain = false;    // after `--`
  bool help = false;
  const auto wants_rest = [&] { return command.rest != nullptr && next == parser.positionals().size(); };
  for (; i < words.size(); ++i) {
    const auto& word = words[i];
    if (!plain && word == "--") {
      plain = true;
      // The program may also stand behind the `--` while a positional argument is still to come: then that error is told.
      if (command.rest != nullptr) {
        if (command.separated != nullptr) *command.separated = true;
        command.rest->assign(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
        break;
      }
      continue;
    }
    if (!plain && word.size() > 1 && word[0] == '-') {
      SANDBOX_CHECK(parser.take_option(words, i, help));
      if (help) {
        request.command = nullptr;
        request.help = command.path;
        return {};
      }
      continue;
    }
    if (wants_rest()) {
      command.rest->assign(words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      // `exec ID -- CMD` and `exec ID CMD -- more`: only the first `--` was ours.
      break;
    }
    if (next == parser.positionals().size()) return invalid("'" + word + "' is one argument too many");
    const auto& positional = *parser.positionals()[next];
    SANDBOX_CHECK(assign(positional, positional.names, word));
    if (!positional.is_list()) ++next;
  }
  if (next < parser.positionals().size()) {
    const auto& positional = *parser.positionals()[next];
    auto* const* list = std::get_if<std::vector<std::string>*>(&positional.into);
    if (positional.required && (list == nullptr || (*list)->empty())) return invalid(positional.names + " is missing");
  }
  request.command = &command;
  return {};
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 2 + 1);
  for (const auto& candidate : candidates) {
    if (const auto steps = distance(word, candidate); steps < least) {
      least = steps;
      best = candidate;
    }
  }
  return best;
}

Result<void> parse_arguments(const CommandTable& table, const std::vector<Option>& common, const std::vector<std::string>& words,
                             Request& request) {
  request = Request();
  request.nothing_said = words.empty();
  const Parser before({}, common);
  std::size_t i = 0;
  for (; i < words.size() && words[i].size() > 1 && words[i][0] == '-'; ++i) {
    if (words[i] == "--version") {
      request.command = table.find("version");
      return {};
    }
    bool help = false;
    SANDBOX_CHECK(before.take_option(words, i, help));
    if (help) return {};
  }
  if (i == words.size()) return {};
  std::string name = words[i];
  if (name == "help") {
    for (++i; i < words.size(); ++i) request.help += (request.help.empty() ? "" : " ") + words[i];
    if (!request.help.empty() && table.find(request.help) == nullptr && !table.is_group(request.help)) {
      return unknown_command(table, "", request.help);
    }
    return {};
  }
  ++i;
  if (table.is_group(name)) {
    // `sbx tpl --json ls`: common options may also stand here.
    for (; i < words.size() && words[i].size() > 1 && words[i][0] == '-'; ++i) {
      bool help = false;
      SANDBOX_CHECK(before.take_option(words, i, help));
      if (!help) continue;
      request.help = name;
      return {};
    }
    if (i == words.size() || words[i] == "help") {
      request.help = name;
      request.nothing_said = i == words.size();
      return {};
    }
    const auto* command = table.find(name + " " + words[i]);
    if (command == nullptr) return unknown_command(table, name, words[i]);
    request.usage_code = command->usage_code;
    return parse_command(*command, common, words, i + 1, request);
  }
  const auto* command = table.find(name);
  if (command == nullptr) return unknown_command(table, "", name);
  request.usage_code = command->usage_code;
  return parse_command(*command, common, words, i, request);
}

}  // namespace sbx
