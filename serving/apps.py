"""The configuration for Django of a server that is not always the one that serves."""

from django.apps import AppConfig


class DaphneConfig(AppConfig):
    """Daphne's `runserver`, without its server.

    Its own configuration imports Twisted, a sixth of the time that every start and
    every command take. `daphne` itself and `runserver` import it where they begin.
    """

    name = "daphne"
    verbose_name = "Daphne"
