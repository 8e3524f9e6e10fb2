"""Addresses below /auth/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
