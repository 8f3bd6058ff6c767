"""The declarations of sandbox._abi against include/sandbox/c.h: a difference would be memory corruption."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox import _abi

HEADER = Path(os.environ.get("SANDBOX_HEADER", Path(__file__).resolve().parents[3] / "include" / "sandbox" / "c.h"))

SCALARS: dict[str, Any] = {
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "double": ctypes.c_double,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "uint32_t": ctypes.c_uint32,
    "uint16_t": ctypes.c_uint16,
}
STRUCTS: dict[str, list[Any]] = {
    "sbx_view": [_abi.View, _abi.Text],
    "sbx_pair": [_abi.Pair, _abi.TextPair],
    "sbx_spec": [_abi.Spec],
    "sbx_warm": [_abi.Warm],
    "sbx_runtime_options": [_abi.RuntimeOptions],
    "sbx_prune_options": [_abi.PruneOptions],
    "sbx_create_options": [_abi.CreateOptions],
    "sbx_client_options": [_abi.ClientOptions],
    "sbx_create_request": [_abi.CreateRequest],
    "sbx_open_options": [_abi.OpenOptions],
    "sbx_stats": [_abi.Stats],
    "sbx_command": [_abi.Command],
    "sbx_exit_status": [_abi.ExitStatus],
    "sbx_file_info": [_abi.FileInfo],
    "sbx_write_options": [_abi.WriteOptions],
    "sbx_find_options": [_abi.FindOptions],
    "sbx_transfer": [_abi.Transfer],
    "sbx_file_event": [_abi.FileEvent],
    "sbx_port": [_abi.Port],
}


@pytest.fixture(scope="module")
def header() -> str:
    text = re.sub(r"/\*.*?\*/", " ", HEADER.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"^\s*#.*(?:\\\n.*)*$", "", text, flags=re.M)


def fits(declared: Any, c_type: str, enums: set[str]) -> bool:
    """Whether a ctypes type is what the C type is to a caller."""
    plain = re.sub(r"\b(const|enum|struct)\b", "", c_type)
    stars, name = plain.count("*"), plain.replace("*", "").strip()
    if stars == 0:
        if name == "void":
            return declared is None
        if name in SCALARS:
            return declared is SCALARS[name]
        if name in enums:
            return declared is ctypes.c_int
        return declared in STRUCTS.get(name, [])
    if name == "char":
        return stars == 1 and declared is ctypes.c_char_p
    if name in SCALARS or name in STRUCTS:
        kinds = STRUCTS.get(name, [SCALARS.get(name)])
        return stars == 1 and declared in [ctypes.POINTER(kind) for kind in kinds]
    # An opaque handle, or where one comes out.
    return declared is (ctypes.c_void_p if stars == 1 else ctypes.POINTER(ctypes.c_void_p))


def enums_of(header: str) -> set[str]:
    return set(re.findall(r"typedef enum (\w+)", header))


def test_every_function_has_the_types_of_the_header(header: str) -> None:
    prototypes = {
        match[2]: (match[1], match[3])
        for match in re.finditer(r"SBX_API\s+([\w\s*]+?)\b(sbx_\w+)\s*\(([^)]*)\)\s*;", header)
    }
    enums = enums_of(header)
    wrong = []
    for name, function in _abi.DECLARED.items():
        result, arguments = prototypes[name]
        c_types = (
            []
            if arguments.strip() == "void"
            else [re.sub(r"\b\w+\s*(\[\d+\])?$", "", one.strip()) for one in arguments.split(",")]
        )
        if name == "sbx_signing_key_generate":
            c_types[0] = "char *"  # unsigned char seed[32]
        if len(c_types) != len(function.argtypes):
            wrong.append(f"{name}: {len(function.argtypes)} arguments, the header has {len(c_types)}")
            continue
        pairs = [(function.restype, result), *zip(function.argtypes, c_types, strict=True)]
        wrong += [
            f"{name}: {declared} is not {c_type}" for declared, c_type in pairs if not fits(declared, c_type, enums)
        ]
    assert not wrong
    assert len(_abi.DECLARED) > 100


def test_every_struct_has_the_fields_of_the_header(header: str) -> None:
    enums, seen, wrong = enums_of(header), set(), []
    for match in re.finditer(r"typedef struct (\w+) \{(.*?)\} \1;", header, flags=re.S):
        name, fields = match[1], []
        for line in match[2].split(";"):
            if not line.strip():
                continue
            found = re.fullmatch(r"\s*((?:const\s+)?\w+\s*\**)\s*(.+)", line, flags=re.S)
            assert found, line
            fields += [(one.strip(), found[1]) for one in found[2].split(",")]
        seen.add(name)
        for struct in STRUCTS[name]:
            declared = [field[0] for field in struct._fields_]
            assert declared == [re.sub(r"[\s*]|\[\d+\]", "", field) for field, _ in fields], name
            for (field, c_type), (_, kind) in zip(fields, struct._fields_, strict=True):
                if field == "host_address[64]":
                    right = kind is ctypes.c_char * 64
                elif (name == "sbx_view" and field == "*data") or field == "data":
                    right = kind in (ctypes.c_void_p, ctypes.c_char_p)
                else:
                    right = fits(kind, c_type + "*" * field.count("*"), enums)
                if not right:
                    wrong.append(f"{name}.{field}: {kind} is not {c_type}")
    assert not wrong
    assert seen == set(STRUCTS)


def test_the_numbers_of_enums_are_those_of_the_header(header: str) -> None:
    import sandbox

    numbers = {name: int(value) for name, value in re.findall(r"\b(SBX_[A-Z_]+) = (\d+)", header)}
    for kind, prefix in (
        (sandbox.Code, "SBX_"),
        (sandbox.FileType, "SBX_FILE_"),
        (sandbox.Network, "SBX_NETWORK_"),
        (sandbox.Retry, "SBX_RETRY_"),
    ):
        for member in kind:
            assert numbers[prefix + member.name] == member, member
    for member in [*sandbox.ExitCause, *sandbox.Change]:
        if member.name != "UNKNOWN":
            name = "SBX_KILLED" if member is sandbox.ExitCause.CANCELLED else f"SBX_{member.name}"
            assert numbers[name] == member, member
