"""Addresses of the chat: the page and the REST API."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
