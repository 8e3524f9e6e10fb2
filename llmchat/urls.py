"""Routes of the chat: the page and the REST API, with and without a trailing slash."""

from django.urls import path, re_path

from llmchat.api import (
    conversation_export,
    conversation_views,
    stream_views,
    views,
)
from llmchat.description import views as description_views

CHAT = "llm/chat"
CONVERSATIONS = "llm/conversations"
STREAMS = "llm/streams"

urlpatterns = [
    path("", views.page, name="page"),
    re_path(rf"^{CHAT}/?$", views.ChatView.as_view(), name="chat"),
    re_path(
        rf"^{CONVERSATIONS}/?$",
        conversation_views.ConversationsView.as_view(),
        name="conversations",
    ),
    *(
        re_path(
            rf"^{CONVERSATIONS}/(?P<conversation_id>[^/]+)/export\.{kind}$",
            conversation_export.ConversationExportView.as_view(),
            {"kind": kind},
            name=f"conversation-export-{kind}",
        )
        for kind in conversation_export.KINDS
    ),
    re_path(
        rf"^{CONVERSATIONS}/(?P<conversation_id>[^/]+)/?$",
        conversation_views.ConversationView.as_view(),
        name="conversation",
    ),
    re_path(rf"^{STREAMS}/?$", stream_views.StreamsView.as_view(), name="streams"),
    re_path(
        rf"^{STREAMS}/(?P<message_id>[^/]+)/?$",
        stream_views.StreamView.as_view(),
        name="stream",
    ),
    re_path(r"^llm/providers/?$", views.ProvidersView.as_view(), name="providers"),
    re_path(r"^healthz/?$", views.healthz, name="healthz"),
    re_path(r"^schema/?$", description_views.SchemaView.as_view(), name="schema"),
    re_path(r"^docs/?$", description_views.docs, name="docs"),
]
