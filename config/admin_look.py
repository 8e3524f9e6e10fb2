"""The look of the admin: name, colors, sidebar.

It is part of the settings, which every command reads before anything else. Building an
address needs half of Django, so that is imported only in the functions that do it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.utils.functional import lazy

if TYPE_CHECKING:
    from django.http import HttpRequest


def _static(name: str) -> str:
    from django.templatetags.static import static

    return static(name)


def _address(view: str) -> str:
    from django.urls import reverse

    return reverse(view)


_address_lazy = lazy(_address, str)


def _style(request: HttpRequest) -> str:
    return _static("llmchat/admin.css")


def _script(request: HttpRequest) -> str:
    return _static("llmchat/admin.js")


def _page(request: HttpRequest) -> str:
    return _address("page")


def _icon(request: HttpRequest) -> str:
    return _static("llmchat/favicon.svg")


def _may_see(model: str) -> Callable[[HttpRequest], bool]:
    app, name = model.split(".")
    return lambda request: request.user.has_perm(f"{app}.view_{name}")


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": _address_lazy(f"admin:{model.replace('.', '_')}_changelist"),
        "permission": _may_see(model),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "llmchat",
    "SITE_HEADER": "llmchat",
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
    "SITE_URL": _page,
    "STYLES": [_style],
    "SCRIPTS": [_script],
    "SHOW_HISTORY": True,
    "LOGIN": {"form": "accounts.log_in_form.LogInForm"},
    "DASHBOARD_CALLBACK": "llmchat.reports.dashboard.show",
    "COLORS": {
        # Dark enough for white text.
        "primary": {
            "50": "#eff6ff",
            "100": "#dbeafe",
            "200": "#bfdbfe",
            "300": "#93c5fd",
            "400": "#60a5fa",
            "500": "#3b82f6",
            "600": "#2563eb",
            "700": "#1d4ed8",
            "800": "#1e40af",
            "900": "#1e3a8a",
            "950": "#172554",
        }
    },
    "SIDEBAR": {
        "show_all_applications": True,
        "navigation": [
            {
                "items": [
                    {
                        "title": "Usage",
                        "icon": "bar_chart",
                        "link": _address_lazy("admin:index"),
                    }
                ]
            },
            {
                "title": "Chats",
                "separator": True,
                "items": [
                    _item("Conversations", "forum", "llmchat.conversation"),
                    _item("Streaming now", "stream", "llmchat.runningstream"),
                    _item("Messages", "chat_bubble", "llmchat.message"),
                ],
            },
            {
                "title": "Providers",
                "separator": True,
                "items": [
                    _item("Providers", "hub", "llmchat.provider"),
                    _item("Models", "neurology", "llmchat.providermodel"),
                    _item("Provider keys", "key", "llmchat.providerkey"),
                ],
            },
            {
                "title": "People",
                "separator": True,
                "items": [
                    _item("Users", "person", "accounts.user"),
                    _item("Groups", "group", "auth.group"),
                    _item("API keys", "vpn_key", "accounts.apikey"),
                    _item("Budgets", "savings", "llmchat.budget"),
                    _item("Audit", "history", "admin.logentry"),
                ],
            },
        ],
    },
}
