"""Values and matchers of the stories: tests/conformance/scenarios/README.md."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any


class StoryError(Exception):
    """The story is not as its author wanted, or says something that this runner does not know."""


def resolve(value: Any, lookup: Callable[[str], Any]) -> Any:
    """`value` with everything in it that stands for another value replaced."""
    if isinstance(value, list):
        return [resolve(item, lookup) for item in value]
    if not isinstance(value, dict):
        return value
    keys = value.keys()
    if keys == {"$"}:
        return lookup(value["$"])
    if keys == {"join"}:
        return "".join(_as_word(resolve(part, lookup)) for part in value["join"])
    if keys == {"base64"}:
        return base64.b64decode(value["base64"], validate=True)
    if keys == {"repeat", "times"}:
        return value["repeat"] * value["times"]
    if keys == {"numbered"}:
        return "".join(f"{number:015d}\n" for number in range(value["numbered"]))
    return {key: resolve(item, lookup) for key, item in value.items()}


def _as_word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise StoryError(f"join takes strings and whole numbers, not {show(value)}")
    return str(value)


def as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    raise StoryError(f"content must be a string or bytes, not {show(value)}")


def show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"


def mismatch(actual: Any, wanted: Any) -> str | None:
    """Why `actual` is not as the matcher `wanted` says; None if it is."""
    if isinstance(wanted, dict):
        for name, condition in wanted.items():
            if name not in _CONDITIONS:
                raise StoryError(f"unknown condition {name}")
            why = _CONDITIONS[name](actual, condition)
            if why is not None:
                return why
        return None
    if isinstance(wanted, list):
        if not isinstance(actual, list):
            return f"is {show(actual)}, wanted a list"
        if len(actual) != len(wanted):
            return f"has {len(actual)} items, wanted {len(wanted)}"
        for index, (one, matcher) in enumerate(zip(actual, wanted, strict=True)):
            why = mismatch(one, matcher)
            if why is not None:
                return f"item {index} {why}"
        return None
    return None if _equal(actual, wanted) else f"is {show(actual)}, wanted {show(wanted)}"


def _equal(actual: Any, wanted: Any) -> bool:
    if isinstance(actual, bytes) != isinstance(wanted, bytes):
        if not isinstance(actual, (str, bytes)) or not isinstance(wanted, (str, bytes)):
            return False
        return as_bytes(actual) == as_bytes(wanted)
    if isinstance(actual, bool) != isinstance(wanted, bool):
        return False
    return bool(actual == wanted)


def _text(test: Callable[[bytes, bytes], bool], words: str) -> Callable[[Any, Any], str | None]:
    def condition(actual: Any, wanted: Any) -> str | None:
        if not isinstance(actual, (str, bytes)):
            return f"is {show(actual)}, wanted text"
        return (
            None
            if test(as_bytes(actual), as_bytes(wanted))
            else f"is {show(actual)}, which does not {words} {show(wanted)}"
        )

    return condition


def _not(actual: Any, wanted: Any) -> str | None:
    return f"is {show(actual)}, which it must not be" if mismatch(actual, wanted) is None else None


def _size(actual: Any, wanted: Any) -> str | None:
    if isinstance(actual, str):
        actual = as_bytes(actual)
    if not isinstance(actual, (bytes, list)):
        return f"is {show(actual)}, which has no size"
    why = mismatch(len(actual), wanted)
    return None if why is None else f"size {why}"


def _number(test: Callable[[Any, Any], bool], words: str) -> Callable[[Any, Any], str | None]:
    def condition(actual: Any, wanted: Any) -> str | None:
        if isinstance(actual, bool) or not isinstance(actual, (int, float)):
            return f"is {show(actual)}, wanted a number"
        return None if test(actual, wanted) else f"is {actual}, wanted {words} {wanted}"

    return condition


def _one_of(actual: Any, wanted: Any) -> str | None:
    return (
        None
        if any(mismatch(actual, one) is None for one in wanted)
        else f"is {show(actual)}, wanted one of {show(wanted)}"
    )


def _has(actual: Any, wanted: Any) -> str | None:
    if not isinstance(actual, list):
        return f"is {show(actual)}, wanted a list"
    return (
        None
        if any(mismatch(one, wanted) is None for one in actual)
        else f"has no item like {show(wanted)}: {show(actual)}"
    )


def _fields(actual: Any, wanted: Any) -> str | None:
    if not isinstance(actual, dict):
        return f"is {show(actual)}, which has no fields"
    for field, matcher in wanted.items():
        if field not in actual:
            raise StoryError(f"unknown field {field}")
        why = mismatch(actual[field], matcher)
        if why is not None:
            return f"{field} {why}"
    return None


_CONDITIONS: dict[str, Callable[[Any, Any], str | None]] = {
    "equals": lambda actual, wanted: None if _equal(actual, wanted) else f"is {show(actual)}, wanted {show(wanted)}",
    "not": _not,
    "contains": _text(lambda actual, wanted: wanted in actual, "contain"),
    "starts_with": _text(lambda actual, wanted: actual.startswith(wanted), "start with"),
    "ends_with": _text(lambda actual, wanted: actual.endswith(wanted), "end with"),
    "size": _size,
    "at_least": _number(lambda actual, wanted: actual >= wanted, "at least"),
    "at_most": _number(lambda actual, wanted: actual <= wanted, "at most"),
    "one_of": _one_of,
    "has": _has,
    "fields": _fields,
}
