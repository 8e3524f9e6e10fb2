"""Django's application configuration for daphne, which is not always the server."""

from django.apps import AppConfig


class DaphneConfig(AppConfig):
    """Daphne's application, which provides `runserver`, without loading its server.

    Daphne's own configuration imports Twisted, which takes a sixth of the time of every
    start and every command. `daphne` and `runserver` import it themselves.
    """

    name = "daphne"
    verbose_name = "Daphne"
