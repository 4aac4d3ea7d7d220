"""A Django form with CSRF protection: ``django_csrf.py PORT [FLAGS]``.

``host``: trust ``X-Forwarded-Host``; ``proto``: trust ``X-Forwarded-Proto``.
"""

import sys

import django
from django.conf import settings

PORT, FLAGS = sys.argv[1], sys.argv[2:]

settings.configure(
    DEBUG=True,
    SECRET_KEY="only for tests, never anywhere else",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="django_form",
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    USE_X_FORWARDED_HOST="host" in FLAGS,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if "proto" in FLAGS else None,
)
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402 - after the set-up

execute_from_command_line(
    ["django", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{PORT}"]
)
