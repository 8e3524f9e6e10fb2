"""The shipped roles, in tests whose database is not migrated for each."""

from __future__ import annotations

from django.apps import apps
from django.db.models.signals import post_migrate


def migrate() -> None:
    """Do what follows each migration, such as creating the roles."""
    for config in apps.get_app_configs():
        if config.models_module:
            sent = {"app_config": config, "using": "default", "apps": apps}
            more = {"verbosity": 0, "interactive": False, "plan": []}
            post_migrate.send(config, **sent, **more)
