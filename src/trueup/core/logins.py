"""Logins by host, as one text of lines: HOST[:PORT][/PATH] USERNAME PASSWORD. Pure."""

from __future__ import annotations

import base64

from msgspec import Struct


class Login(Struct, frozen=True):
    where: str
    username: str
    password: str

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Login({self.where!r}, {self.username!r}, ***)"


class Logins(Struct, frozen=True):
    """Of two that fit, the one with the longer path."""

    every: tuple[Login, ...] = ()

    def of(self, netloc: str, path: str = "") -> Login | None:
        whole = f"{netloc.lower()}/{path.strip('/')}"
        fit = [one for one in self.every if f"{whole}/".startswith(f"{one.where}/")]
        return max(fit, key=lambda one: len(one.where), default=None)


def logins(text: str) -> Logins:
    """Empty lines and lines that begin with # are nothing. Raises ValueError, which names the line and quotes none."""
    found: list[Login] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:
            raise ValueError(f"line {number} is not HOST USERNAME PASSWORD")
        host, slash, path = words[0].partition("/")
        found.append(Login(f"{host.lower()}{slash}{path}".rstrip("/"), words[1], words[2]))
    return Logins(tuple(found))
