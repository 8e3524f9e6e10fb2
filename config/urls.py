"""The routes of the whole project."""

from django.conf import settings
from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.utils.functional import lazy
from django.views.generic import RedirectView

from accounts.views import admin_login
from serving import errors

handler400 = errors.handler400
handler404 = errors.handler404
handler500 = errors.handler500

# Browsers request this icon for pages that have none of their own.
favicon = RedirectView.as_view(url=lazy(static, str)("llmchat/favicon.svg"))

urlpatterns = [
    path("favicon.ico", favicon),
    path("auth/", include("accounts.urls")),
    path("admin/login/", admin_login),
    # The admin's forms post to paths with a trailing slash; people type none.
    re_path(
        r"^(?P<page>admin(/.*[^/])?)$",
        RedirectView.as_view(
            url=f"{settings.FORCE_SCRIPT_NAME or ''}/%(page)s/", query_string=True
        ),
    ),
    path("admin/", admin.site.urls),
    path("", include("llmchat.urls")),
    re_path(r"^c(?:/.*)?$", errors.no_page),
    re_path(r"^(?P<path>(auth|llm|v1)(/.*)?)$", errors.api_not_found),
]
