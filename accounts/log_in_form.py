"""The log-in form of the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    # The theme's annotations contradict Django's.
    from django.contrib.admin.forms import AdminAuthenticationForm as _Form
else:
    from unfold.forms import AuthenticationForm as _Form


class LogInForm(_Form):
    """A form with one error for all cases, which does not reveal who has an account."""

    error_messages = {
        **_Form.error_messages,
        "invalid_login": _("Incorrect username or password"),
    }
