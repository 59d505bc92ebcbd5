"""The expression language of GitHub Actions: `${{ … }}`. Pure; reads no file, runs nothing.

Source: GitHub Docs, "Evaluate expressions in workflows and actions"; coercions and limits as in GitHub's own
open test data (actions/languageservices, expressions/testdata).
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Json
from trueup.core.pipeline import ExpressionError, Scope

MAX_LENGTH = 21000
MAX_DEPTH = 50
MAX_RESULT = 10 << 20  # characters: an expression that multiplies text is stopped here


# --- reading -------------------------------------------------------------------------------------


class Literal(Struct, frozen=True):
    value: Json


class Named(Struct, frozen=True):
    name: str


class Index(Struct, frozen=True):
    base: Node
    key: Node


class Every(Struct, frozen=True):
    base: Node


class Call(Struct, frozen=True):
    name: str
    args: tuple[Node, ...]


class Not(Struct, frozen=True):
    value: Node


class Binary(Struct, frozen=True):
    operator: str
    left: Node
    right: Node


Node: TypeAlias = Literal | Named | Index | Every | Call | Not | Binary

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>'(?:[^']|'')*')
    |(?P<operator>==|!=|<=|>=|&&|\|\||[!<>()\[\],*])
    |(?P<dot>\.(?![0-9]))
    |(?P<number>[-+]?(?:0x[0-9a-fA-F]+|0o[0-7]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|Infinity)(?![\w.]))
    |(?P<name>[A-Za-z_][A-Za-z0-9_-]*)""",
    re.VERBOSE,
)
_CONSTANTS: Mapping[str, Json] = {"true": True, "false": False, "null": None, "NaN": math.nan, "Infinity": math.inf}
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="))


class Token(Struct, frozen=True):
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ExpressionError(
                f"unexpected {text[at : at + 12]!r} at position {at + 1} of the expression {text.strip()!r}"
                + (" (text stands in single quotes)" if text[at] == '"' else "")
            )
        if match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), at)
        at = match.end()
    yield Token("end", "the end", len(text))


class _Parser:
    """Recursive descent over one expression's tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0

    def parse(self) -> Node:
        node, _ = self.binary(0, 0)
        if self.peek().kind != "end":
            self.unexpected()
        return node

    def peek(self) -> Token:
        return self.tokens[self.at]

    def take(self, text: str = "") -> Token:
        token = self.peek()
        if text and (token.text != text or token.kind == "string"):
            self.unexpected()
        self.at += 1
        return token

    def unexpected(self) -> None:
        token = self.peek()
        raise ExpressionError(f"unexpected {token.text} at position {token.at + 1} of {self.text.strip()!r}")

    def is_operator(self, *operators: str) -> bool:
        return self.peek().kind == "operator" and self.peek().text in operators

    def deeper(self, depth: int) -> int:
        if depth >= MAX_DEPTH:
            raise ExpressionError(f"the expression {self.text.strip()[:60]!r}… nests deeper than {MAX_DEPTH} levels")
        return depth + 1

    def binary(self, level: int, depth: int) -> tuple[Node, int]:
        if level == len(_LEVELS):
            return self.unary(depth)
        node, deep = self.binary(level + 1, depth)
        while self.is_operator(*_LEVELS[level]):
            operator = self.take().text
            right, _ = self.binary(level + 1, depth)
            node = Binary(operator, node, right)
        return node, deep

    def unary(self, depth: int) -> tuple[Node, int]:
        if self.is_operator("!"):
            self.take()
            value, deep = self.unary(self.deeper(depth))
            return Not(value), deep
        return self.postfix(depth)

    def postfix(self, depth: int) -> tuple[Node, int]:
        node = self.primary(depth)
        deep = depth
        while True:
            if self.peek().kind == "dot":
                self.take()
                node = self.member(node)
            elif self.is_operator("["):
                self.take()
                node = self.subscript(node, depth)
            else:
                return node, deep
            deep = self.deeper(deep)

    def member(self, base: Node) -> Node:
        if self.is_operator("*"):
            self.take()
            return Every(base)
        if self.peek().kind != "name":
            self.unexpected()
        return Index(base, Literal(self.take().text))

    def subscript(self, base: Node, depth: int) -> Node:
        if self.is_operator("*"):
            self.take()
            self.take("]")
            return Every(base)
        key, _ = self.binary(0, self.deeper(depth))
        self.take("]")
        return Index(base, key)

    def primary(self, depth: int) -> Node:
        token = self.peek()
        if token.kind == "string":
            return Literal(self.take().text[1:-1].replace("''", "'"))
        if token.kind == "number":
            return Literal(to_number(self.take().text))
        if token.kind == "name":
            return self.named(depth)
        if self.is_operator("("):
            self.take()
            node, _ = self.binary(0, self.deeper(depth))
            self.take(")")
            return node
        self.unexpected()
        raise AssertionError  # unexpected() always raises

    def named(self, depth: int) -> Node:
        token = self.take()
        if self.is_operator("("):
            self.take()
            return self.call(token, depth)
        return Literal(_CONSTANTS[token.text]) if token.text in _CONSTANTS else Named(token.text.lower())

    def call(self, name: Token, depth: int) -> Node:
        args: list[Node] = []
        while not self.is_operator(")"):
            if args:
                self.take(",")
            args.append(self.binary(0, self.deeper(depth))[0])
        self.take(")")
        return Call(_known(name.text, len(args)), tuple(args))


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The tree of one expression, without `${{ }}`. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression is longer than {MAX_LENGTH} characters: {text[:40]!r}…")
    if not text.strip():
        raise ExpressionError("an expression is empty: write something between ${{ and }}")
    return _Parser(text).parse()


# --- values --------------------------------------------------------------------------------------


class Filtered(list[Json]):
    """What `.*` gives: the next `.name` is looked up in each."""


def truthy(value: Json) -> bool:
    if isinstance(value, float) and math.isnan(value):
        return False
    return isinstance(value, (list, dict, Mapping)) or bool(value)


_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def to_number(value: Json) -> float:
    if value is None or isinstance(value, (bool, int, float)):
        return float(value or 0)
    if not isinstance(value, str):
        return math.nan
    text = value.strip()
    if not text:
        return 0.0
    if match := re.fullmatch(r"0x([0-9a-fA-F]+)|0o([0-7]+)", text):
        return float(int(match[1], 16) if match[1] else int(match[2], 8))
    if text in ("Infinity", "+Infinity", "-Infinity"):
        return -math.inf if text[0] == "-" else math.inf
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def to_text(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number_text(float(value))
    if isinstance(value, str):
        return value
    return "Array" if isinstance(value, list) else "Object"


def _number_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return format(value or 0.0, ".15g").replace("e", "E")


def equal(left: Json, right: Json) -> bool:
    """GitHub's loose equality: texts ignore case, unlike types become numbers, lists and objects only themselves."""
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() == right.upper()
    if isinstance(left, (list, Mapping)) or isinstance(right, (list, Mapping)):
        return left is right
    if left is None and right is None:
        return True
    return to_number(left) == to_number(right)


def less(left: Json, right: Json) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() < right.upper()
    if isinstance(left, (list, Mapping)) or isinstance(right, (list, Mapping)):
        return False
    return to_number(left) < to_number(right)


def _at(base: Json, key: Json) -> Json:
    if isinstance(base, Filtered):
        return Filtered([found for item in base for found in _each_at(item, key)])
    return next(iter(_each_at(base, key)), None)


def _each_at(base: Json, key: Json) -> list[Json]:
    if isinstance(key, (list, Mapping)):
        return []
    if isinstance(base, Mapping):
        wanted = to_text(key)
        if wanted in base:
            return [base[wanted]]
        folded = wanted.upper()
        return [value for name, value in base.items() if str(name).upper() == folded][:1]
    if isinstance(base, list):
        number = to_number(key)
        return [base[int(number)]] if 0 <= number < len(base) else []
    return []


def _every(base: Json) -> Filtered:
    if isinstance(base, Filtered):
        return Filtered([item for each in base for item in _every(each if isinstance(each, (list, Mapping)) else None)])
    if isinstance(base, Mapping):
        return Filtered(base.values())
    return Filtered(base) if isinstance(base, list) else Filtered()


# --- functions -----------------------------------------------------------------------------------


def _contains(scope: Scope, search: Json, item: Json) -> Json:
    if isinstance(search, list):
        return any(equal(each, item) for each in search)
    if isinstance(search, Mapping) or isinstance(item, (list, Mapping)):
        return False
    return to_text(item).upper() in to_text(search).upper()


def _starts(scope: Scope, text: Json, start: Json) -> Json:
    return _both_plain(text, start) and to_text(text).upper().startswith(to_text(start).upper())


def _ends(scope: Scope, text: Json, end: Json) -> Json:
    return _both_plain(text, end) and to_text(text).upper().endswith(to_text(end).upper())


def _both_plain(*values: Json) -> bool:
    return not any(isinstance(value, (list, Mapping)) for value in values)


def _format(scope: Scope, template: Json, *args: Json) -> Json:
    text = to_text(template)
    out: list[str] = []
    at = 0
    for match in re.finditer(r"\{\{|\}\}|\{([0-9]+)\}|[{}]", text):
        out.append(text[at : match.start()])
        at = match.end()
        if match[0] in ("{{", "}}"):
            out.append(match[0][0])
        elif match[1] is None:
            raise ExpressionError(f"the format string {text!r} has a single {match[0]}: write {match[0] * 2}")
        elif int(match[1]) >= len(args):
            raise ExpressionError(f"the format string {text!r} uses {match[0]} but has {len(args)} argument(s)")
        else:
            out.append(to_text(args[int(match[1])]))
    return "".join([*out, text[at:]])


def _join(scope: Scope, items: Json, separator: Json = ",") -> Json:
    if isinstance(items, list):
        return to_text(separator).join(to_text(item) for item in items)
    return to_text(items) if _both_plain(items) else ""


def _to_json(scope: Scope, value: Json) -> Json:
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def _from_json(scope: Scope, text: Json) -> Json:
    try:
        return json.loads(to_text(text))
    except (ValueError, RecursionError) as error:
        raise ExpressionError(f"fromJSON was given what is no JSON: {to_text(text)[:60]!r} ({error})") from error


def _hash_files(scope: Scope, *patterns: Json) -> Json:
    if scope.hash_files is None:
        raise ExpressionError("hashFiles() is only available in steps, where there is a workspace")
    return scope.hash_files([to_text(pattern) for pattern in patterns])


def _case(scope: Scope, *args: Json) -> Json:
    for condition, value in zip(args[:-1:2], args[1::2], strict=True):
        if truthy(condition):
            return value
    return args[-1]


class Function(Struct, frozen=True):
    call: Callable[..., Json]
    least: int
    most: int


FUNCTIONS: Mapping[str, Function] = {
    "contains": Function(_contains, 2, 2),
    "startswith": Function(_starts, 2, 2),
    "endswith": Function(_ends, 2, 2),
    "format": Function(_format, 1, 255),
    "join": Function(_join, 1, 2),
    "tojson": Function(_to_json, 1, 1),
    "fromjson": Function(_from_json, 1, 1),
    "hashfiles": Function(_hash_files, 1, 255),
    "case": Function(_case, 3, 255),
    "success": Function(lambda scope: scope.status.success, 0, 0),
    "failure": Function(lambda scope: scope.status.failure, 0, 0),
    "cancelled": Function(lambda scope: scope.status.cancelled, 0, 0),
    "always": Function(lambda scope: True, 0, 0),
}
STATUS_FUNCTIONS = frozenset({"success", "failure", "cancelled", "always"})


def _known(name: str, args: int) -> str:
    function = FUNCTIONS.get(name.lower())
    if function is None:
        near = difflib.get_close_matches(name.lower(), FUNCTIONS, 1)
        raise ExpressionError(f"there is no function {name}()" + (f": did you mean {near[0]}()?" if near else ""))
    if not function.least <= args <= function.most:
        raise ExpressionError(f"{name}() takes {function.least} to {function.most} arguments, not {args}")
    if name.lower() == "case" and args % 2 == 0:
        raise ExpressionError("case() takes pairs of condition and value, then a default")
    return name.lower()


# --- evaluating ----------------------------------------------------------------------------------


def evaluate(node: Node, scope: Scope) -> Json:
    match node:
        case Literal():
            return node.value
        case Named():
            return scope.contexts.get(node.name)
        case Index():
            return _at(evaluate(node.base, scope), evaluate(node.key, scope))
        case Every():
            return _every(evaluate(node.base, scope))
        case Not():
            return not truthy(evaluate(node.value, scope))
        case Call():
            value = FUNCTIONS[node.name].call(scope, *(evaluate(arg, scope) for arg in node.args))
            if isinstance(value, str) and len(value) > MAX_RESULT:
                raise ExpressionError(f"{node.name}() gave more than {MAX_RESULT} characters")
            return value
        case Binary():
            return _binary(node, scope)


def _binary(node: Binary, scope: Scope) -> Json:
    left = evaluate(node.left, scope)
    if node.operator == "&&":
        return evaluate(node.right, scope) if truthy(left) else left
    if node.operator == "||":
        return left if truthy(left) else evaluate(node.right, scope)
    right = evaluate(node.right, scope)
    match node.operator:
        case "==":
            return equal(left, right)
        case "!=":
            return not equal(left, right)
        case "<":
            return less(left, right)
        case ">":
            return less(right, left)
        case "<=":
            return less(left, right) or _ordered_equal(left, right)
        case _:
            return less(right, left) or _ordered_equal(left, right)


def _ordered_equal(left: Json, right: Json) -> bool:
    return _both_plain(left, right) and equal(left, right)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    match node:
        case Index():
            yield from walk(node.base)
            yield from walk(node.key)
        case Every():
            yield from walk(node.base)
        case Not():
            yield from walk(node.value)
        case Binary():
            yield from walk(node.left)
            yield from walk(node.right)
        case Call():
            for arg in node.args:
                yield from walk(arg)
        case _:
            return


# --- text with expressions in it -----------------------------------------------------------------


class Hole(Struct, frozen=True):
    """One `${{ … }}` in a text."""

    expression: str
    at: int


@lru_cache(maxsize=4096)
def pieces(text: str) -> tuple[str | Hole, ...]:
    """The text cut at its expressions. Raises ExpressionError when one does not end."""
    out: list[str | Hole] = []
    at = 0
    while (start := text.find("${{", at)) >= 0:
        end = _hole_end(text, start + 3)
        if start > at:
            out.append(text[at:start])
        out.append(Hole(text[start + 3 : end], start))
        at = end + 2
    if at < len(text):
        out.append(text[at:])
    return tuple(out)


def _hole_end(text: str, at: int) -> int:
    quoted = False
    while at < len(text):
        if text[at] == "'":
            quoted = not quoted
        elif not quoted and text.startswith("}}", at):
            return at
        at += 1
    raise ExpressionError("an expression begins with ${{ but does not end with }}")


def value(text: str, scope: Scope) -> Json:
    """The typed value when the text is one expression and nothing else; else the text interpolated."""
    parts = pieces(text)
    if len(parts) == 1 and isinstance(parts[0], Hole):
        return evaluate(parse(parts[0].expression), scope)
    return interpolate(text, scope)


def interpolate(text: str, scope: Scope) -> str:
    out = [part if isinstance(part, str) else to_text(evaluate(parse(part.expression), scope)) for part in pieces(text)]
    return "".join(out)


def condition(text: str, scope: Scope) -> bool:
    """An `if:`. Without a status function, success() && is put before it.

    Source: GitHub Docs, "Workflow syntax", jobs.<job_id>.if; text around `${{ }}` makes it a (true) text.
    """
    parts = pieces(text)
    nodes = condition_nodes(text)
    asks = any(isinstance(each, Call) and each.name in STATUS_FUNCTIONS for node in nodes for each in walk(node))
    if not asks and not scope.status.success:
        return False
    if any(isinstance(part, Hole) for part in parts):
        return truthy(value(text.strip() if len(parts) == 1 else text, scope))
    return truthy(evaluate(nodes[0], scope)) if nodes else True


def condition_nodes(text: str) -> Sequence[Node]:
    parts = pieces(text)
    if any(isinstance(part, Hole) for part in parts):
        return [parse(part.expression) for part in parts if isinstance(part, Hole)]
    return [parse(text)] if text.strip() else []


def nodes_of(text: str) -> Sequence[Node]:
    """The trees of every `${{ … }}` in a text."""
    return [parse(part.expression) for part in pieces(text) if isinstance(part, Hole)]
