#!/usr/bin/env python3
"""The .proto text of lib/protocol/messages.hpp, which docs/PROTOCOL.md quotes.

protocol_text.py HEADER            prints it
protocol_text.py HEADER --check D  fails when the document D does not quote it, line by line
"""
import re
import sys

SCALARS = {
    "bool": "bool", "std::string": "bytes", "std::uint8_t": "uint32", "std::uint16_t": "uint32",
    "std::uint32_t": "uint32", "std::uint64_t": "uint64", "std::int32_t": "sint32", "std::int64_t": "sint64",
}


def proto_type(cpp, enums):
    for wrapper, label in (("std::optional", "optional "), ("std::vector", "repeated ")):
        inner = re.fullmatch(re.escape(wrapper) + r"<(.+)>", cpp)
        if inner:
            return label + proto_type(inner.group(1), enums)
    return SCALARS.get(cpp, cpp)


def members(body):
    """name -> (C++ type, default when that is not zero) of each data member."""
    found = {}
    for line in body.splitlines():
        line = line.split("///")[0].split("//")[0].strip()
        match = re.match(r"((?:std::)?\w+(?:<[\w:]+>)?)\s+(\w.*);$", line)
        if not match or "operator" in line or "(" in line:
            continue
        for name in match.group(2).split(","):
            name, _, value = (part.strip() for part in name.partition("="))
            found[name] = (match.group(1), value if value not in ("", "0", "false") and "::" not in value else None)
    return found


def render(header):
    text = open(header, encoding="utf-8").read()
    enums = {}
    out = []
    for match in re.finditer(r"^(enum class|struct) (\w+)(?: : [\w:]+)? \{(.*?)\n?\};|^enum class (\w+) : [\w:]+ \{(.*?)\};",
                             text, re.S | re.M):
        kind, name, body = match.group(1), match.group(2), match.group(3)
        if kind is None:
            kind, name, body = "enum class", match.group(4), match.group(5)
        if kind == "enum class":
            values = re.findall(r"(\w+) = (\d+)", re.sub(r"//.*", "", body))
            enums[name] = values
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
            out.append(f"enum {name} {{")
            out += [f"  {prefix}_{value.upper()} = {number};" for value, number in values]
            out.append("}")
        else:
            types = members(body)
            fields = re.findall(r"SANDBOX_FIELD\((\d+), (\w+)\)", body)
            out.append(f"message {name} {{" + ("" if fields else "}"))
            for number, field in fields:
                cpp, default = types[field]
                label, note = ("optional ", f"  // default {default}") if default else ("", "")
                out.append(f"  {label}{proto_type(cpp, enums)} {field} = {number};{note}")
            if fields:
                out.append("}")
    return out


def main():
    lines = render(sys.argv[1])
    if len(sys.argv) == 2:
        print("\n".join(lines))
        return 0
    document = open(sys.argv[3], encoding="utf-8").read()
    quoted = re.search(r"```proto\n(.*?)```", document, re.S)
    have = quoted.group(1).splitlines()[1:] if quoted else []  # after the syntax line
    if have == lines:
        return 0
    print(f"{sys.argv[3]} does not quote {sys.argv[1]} as it is; run {sys.argv[0]} {sys.argv[1]} and paste:")
    for line in sorted(set(lines) ^ set(have)):
        print(("+ " if line in lines else "- ") + line)
    return 1


if __name__ == "__main__":
    sys.exit(main())
