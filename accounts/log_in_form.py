"""The log-in form of the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    # The look's own annotations contradict Django's.
    from django.contrib.admin.forms import AdminAuthenticationForm as _Form
else:
    from unfold.forms import AuthenticationForm as _Form


class LogInForm(_Form):
    """One error for all that is wrong, which does not tell who has an account."""

    error_messages = {
        **_Form.error_messages,
        "invalid_login": _("Incorrect username or password"),
    }
