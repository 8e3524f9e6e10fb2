"""The addresses below /auth/, each with and without a trailing slash."""

from django.urls import re_path

from accounts import views

app_name = "accounts"

urlpatterns = [
    re_path(r"^token/?$", views.TokenView.as_view(), name="token"),
    re_path(r"^token/refresh/?$", views.RefreshView.as_view(), name="refresh"),
    re_path(r"^token/revoke/?$", views.RevokeView.as_view(), name="revoke"),
    re_path(r"^register/?$", views.RegisterView.as_view(), name="register"),
    re_path(r"^password/?$", views.PasswordView.as_view(), name="password"),
    re_path(r"^me/?$", views.MeView.as_view(), name="me"),
]
