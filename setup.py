"""What setup.cfg cannot say: which folders become packages, and what travels in them.

``plugins/``, ``templates/`` and ``migrations/`` stand at the top level for people. In the wheel
they travel inside the package (``zenzefi/_bundled/...``), so that no other distribution's "plugins"
or "templates" can collide with them; ``zenzefi/resources.py`` finds them in both places.
"""

from setuptools import find_packages, setup

BUNDLED = ("plugins", "templates", "migrations")

setup(
    packages=[
        *find_packages(include=["zenzefi", "zenzefi.*"]),
        *(f"zenzefi._bundled.{name}" for name in BUNDLED),
    ],
    package_dir={f"zenzefi._bundled.{name}": name for name in BUNDLED},
    # Everything that lies in these folders is part of the program: pages, styles, scripts, demo
    # data, translations. The dotfiles keep out what editors leave behind.
    package_data={"": ["**/*"]},
    exclude_package_data={"": ["**/__pycache__/*", "**/*.pyc", "**/.*"]},
    include_package_data=False,
)
