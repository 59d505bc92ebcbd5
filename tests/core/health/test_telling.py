"""The line of a crash that a person needs: one case for each way in which programs end."""

from __future__ import annotations

import pytest

from trueup.core.health.telling import LIMIT, telling

GUNICORN = """\
[2026-11-23 09:29:10 +0000] [1] [INFO] Starting gunicorn 23.0.0
[2026-11-23 09:29:11 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/usr/lib/python3.12/site-packages/gunicorn/arbiter.py", line 608, in spawn_worker
    worker.init_process()
  File "/srv/your-application.py", line 11, in <module>
    import nosuchmodule
ModuleNotFoundError: No module named 'nosuchmodule'
[2026-11-23 09:29:11 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-11-23 09:29:11 +0000] [1] [ERROR] Worker (pid:7) exited with code 3
[2026-11-23 09:29:11 +0000] [1] [ERROR] Reason: Worker failed to boot."""
CHAINED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'DATABASE_URL'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise ImproperlyConfigured("set DATABASE_URL")
django.core.exceptions.ImproperlyConfigured: set DATABASE_URL"""
CUT_OFF = "    import flask\nModuleNotFoundError: No module named 'flask'\n[1] [ERROR] Reason: Worker failed to boot."
NODE = """\
node:internal/modules/cjs/loader:1080
  throw err;
  ^

Error: Cannot find module 'express'
Require stack:
- /app/server.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15) {
  code: 'MODULE_NOT_FOUND',
}
Node.js v20.11.0"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: cannot start
\tat com.acme.Main.main(Main.java:9)
Caused by: java.net.ConnectException: Connection refused
\tat java.base/sun.nio.ch.Net.pollConnect(Native Method)
\t... 12 more"""
GO = """\
2026/11/23 09:29:11 starting
panic: open /etc/app.yaml: no such file or directory

goroutine 1 [running]:
exit status 2"""
RUST = "thread 'main' panicked at src/main.rs:2:5:\nnote: run with `RUST_BACKTRACE=1`"
NGINX = '/docker-entrypoint.sh: ready\nnginx: [emerg] unknown directive "lisen" in /etc/nginx/nginx.conf:3\nbye'
POSTGRES = 'LOG: starting\nFATAL:  password authentication failed for user "app"\nLOG: shutting down'
SHELL = "starting\n/bin/sh: 1: gunicorn: not found\n"
ONLY_TALK = "hello\n  goodbye  \n\n"


@pytest.mark.parametrize(
    ("log", "line"),
    [
        pytest.param(GUNICORN, "ModuleNotFoundError: No module named 'nosuchmodule'", id="python under gunicorn"),
        pytest.param(CHAINED, "django.core.exceptions.ImproperlyConfigured: set DATABASE_URL", id="python, chained"),
        pytest.param(CUT_OFF, "ModuleNotFoundError: No module named 'flask'", id="python, its head cut off"),
        pytest.param(NODE, "Error: Cannot find module 'express'", id="node"),
        pytest.param(JAVA, "Caused by: java.net.ConnectException: Connection refused", id="java"),
        pytest.param(GO, "panic: open /etc/app.yaml: no such file or directory", id="go"),
        pytest.param(RUST, "thread 'main' panicked at src/main.rs:2:5:", id="rust"),
        pytest.param(NGINX, 'nginx: [emerg] unknown directive "lisen" in /etc/nginx/nginx.conf:3', id="nginx"),
        pytest.param(POSTGRES, 'FATAL:  password authentication failed for user "app"', id="postgres"),
        pytest.param(SHELL, "/bin/sh: 1: gunicorn: not found", id="shell"),
        pytest.param(ONLY_TALK, "goodbye", id="no error at all"),
        pytest.param("", "", id="nothing"),
        pytest.param("Traceback (most recent call last):", "Traceback (most recent call last):", id="cut at its head"),
    ],
)
def test_the_telling_line_of(log: str, line: str) -> None:
    assert telling(log.split("\n")) == line


def test_a_line_is_never_long() -> None:
    assert len(telling(["Error: " + "x" * 5000])) == LIMIT
