"""A Django site with its admin, all in one file: ``django_site.py PORT FOLDER``."""

import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line

PORT, FOLDER = sys.argv[1], Path(sys.argv[2])

settings.configure(
    DEBUG=True,
    SECRET_KEY="only for tests, never anywhere else",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="django_urls",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}},
    STATIC_URL="/static/",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402 - only once Django is set up

if not (FOLDER / "db.sqlite3").exists():
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("admin", "admin@example.org", "lamp-oil-1871")
    Group.objects.create(name="Boatmen")
execute_from_command_line(
    ["django", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{PORT}"]
)
