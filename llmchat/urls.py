"""Routes of the chat: the page and the REST API, with and without a trailing slash."""

from django.urls import path, re_path

from llmchat.api import views

CHAT = "llm/chat"

urlpatterns = [
    path("", views.page, name="page"),
    re_path(rf"^{CHAT}/?$", views.ChatView.as_view(), name="chat"),
    re_path(r"^llm/providers/?$", views.ProvidersView.as_view(), name="providers"),
    re_path(r"^healthz/?$", views.healthz, name="healthz"),
]
