"""Routes of the chat: the page and the REST API, with and without a trailing slash."""

from django.urls import path, re_path

from llmchat.api import (
    account_export,
    conversation_export,
    conversation_views,
    key_views,
    metrics_view,
    provider_views,
    readiness,
    stream_views,
    usage_views,
    views,
)
from llmchat.api.openai import completions, model_views, responses
from llmchat.description import views as description_views

CHAT = "llm/chat"
CONVERSATIONS = "llm/conversations"
STREAMS = "llm/streams"
COMPLETIONS = "v1/chat/completions"
RESPONSES = "v1/responses"
MODELS = "v1/models"
# Requests that last as long as the answers that they request or follow.
ANSWERS = (rf"{CHAT}/?", rf"{STREAMS}/[^/]+/?", rf"{COMPLETIONS}/?", rf"{RESPONSES}/?")

urlpatterns = [
    path("", views.page, name="page"),
    re_path(r"^c/(?P<conversation_id>[0-9a-f-]{36})/?$", views.page),
    re_path(rf"^{CHAT}/?$", views.ChatView.as_view(), name="chat"),
    re_path(
        rf"^{CONVERSATIONS}/?$",
        conversation_views.ConversationsView.as_view(),
        name="conversations",
    ),
    *(
        re_path(
            rf"^{CONVERSATIONS}/(?P<conversation_id>[^/]+)/export\.{kind}/?$",
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
    re_path(r"^auth/keys/?$", key_views.KeysView.as_view(), name="keys"),
    re_path(
        r"^auth/keys/(?P<key_id>[^/]+)/?$", key_views.KeyView.as_view(), name="key"
    ),
    re_path(
        r"^llm/providers/?$", provider_views.ProvidersView.as_view(), name="providers"
    ),
    re_path(r"^llm/usage/?$", usage_views.UsageView.as_view(), name="usage"),
    re_path(r"^llm/export/?$", account_export.ExportView.as_view(), name="export"),
    re_path(
        rf"^{COMPLETIONS}/?$",
        completions.ChatCompletionsView.as_view(),
        name="completions",
    ),
    re_path(rf"^{RESPONSES}/?$", responses.ResponsesView.as_view(), name="responses"),
    re_path(rf"^{MODELS}/?$", model_views.ModelsView.as_view(), name="models"),
    # Names of models can contain slashes.
    re_path(
        rf"^{MODELS}/(?P<model>.+?)/?$", model_views.ModelView.as_view(), name="model"
    ),
    re_path(r"^healthz/?$", views.healthz, name="healthz"),
    re_path(r"^readyz/?$", readiness.readyz, name="readyz"),
    re_path(r"^metrics/?$", metrics_view.metrics, name="metrics"),
    re_path(r"^schema/?$", description_views.schema, name="schema"),
    re_path(r"^docs/?$", description_views.docs, name="docs"),
]
