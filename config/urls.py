"""The addresses of the whole project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("auth/", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("", include("llmchat.urls")),
]
