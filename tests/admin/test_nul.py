"""NUL, which PostgreSQL refuses: in filters, searches, look-ups, paths, cookies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from llmchat.models import Provider
from tests.support.admin_fixtures import make_conversation

QUERIES = {
    "llmchat_provider": ("protocol__exact", "name__startswith", "q"),
    "llmchat_providerkey": ("provider__id__exact", "q", "o"),
    "llmchat_budget": ("period__exact", "unit__exact", "q"),
    "llmchat_conversation": (
        *("state__exact", "provider", "title__icontains", "user__id__exact"),
        "username",
        *("updated_at_from", "q", "_changelist_filters"),
    ),
    "llmchat_message": ("role__exact", "state__exact", "provider", "error_code"),
    "llmchat_runningstream": ("provider", "model", "created_at__gte"),
    "accounts_user": ("username", "email__startswith", "groups__id__exact", "q"),
    "auth_group": ("name", "q"),
}
PATHS = (
    "/admin/llmchat/conversation/of-user/1/export/js%00on/",
    "/admin/llmchat/conversation/%00/change/",
    "/admin/llmchat/message/%00/history/",
    "/admin/llmchat/provider/1%00/delete/",
    "/admin/accounts/user/1%00/password/",
    "/admin/%00/",
    "/llm/%00",
    "/auth/%00",
    "/%00",
)
AUTOCOMPLETE = "/admin/autocomplete/?app_label=llmchat&model_name=budget"


def addresses() -> Iterator[str]:
    for name, parameters in QUERIES.items():
        for parameter in parameters:
            yield f"{reverse(f'admin:{name}_changelist')}?{parameter}=a%00b"
    for field in ("user", "group"):
        yield f"{AUTOCOMPLETE}&field_name={field}&term=a%00"


@pytest.mark.django_db
def test_no_query_string_with_nul_is_a_fault_of_the_server(
    admin_client: Client,
) -> None:
    make_conversation(User.objects.create_user("ann"))
    statuses = {url: admin_client.get(url).status_code for url in addresses()}
    assert set(statuses.values()) <= {200, 302}, statuses


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["state__exact", "provider", "username"])
def test_a_filter_with_nul_matches_nothing(admin_client: Client, name: str) -> None:
    # A filter without choices is not on the page.
    Provider.objects.get_or_create(name="openai", label="OpenAI")
    make_conversation(User.objects.create_user("ann"), title="ab", provider="ab")
    url = reverse("admin:llmchat_conversation_changelist")
    page = admin_client.get(url, {name: "a\0b"})
    assert page.context["cl"].result_count == 0


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
def test_a_path_with_nul_is_not_found(admin_client: Client, path: str) -> None:
    assert admin_client.get(path).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/llm/providers"])
def test_a_cookie_with_nul_is_none(path: str) -> None:
    client = Client(headers={"cookie": 'sessionid="0123456789\\000a"'})
    assert client.get(path).status_code in (200, 302, 401)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/token", {"username": "a\0", "password": "x"}),
        ("/auth/token", {"username": "a", "password": "x\0"}),
        ("/auth/token/refresh", {"refresh": "a\0"}),
        ("/auth/token/revoke", {"refresh": "a\0"}),
        ("/auth/register", {"username": "a\0b", "password": "long-enough-9"}),
        ("/auth/register", {"username": "ab", "password": "long\0enough-9"}),
        (
            "/auth/register",
            {"username": "ab", "password": "long-enough-9", "email": "a\0@b.org"},
        ),
    ],
)
def test_a_body_with_nul_is_refused(path: str, body: dict[str, str]) -> None:
    response = Client().post(path, body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["code"] == "bad_request"
    assert not User.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("ident", ["1\0", "x", "", "9" * 30])
@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("provider", "delete_selected"),
        ("provider", "test_providers"),
        ("providerkey", "test_keys"),
        ("budget", "delete_selected"),
        ("conversation", "export_json"),
        ("conversation", "delete_selected"),
        ("runningstream", "stop_selected"),
    ],
)
def test_an_action_on_what_can_be_no_row_does_nothing(
    admin_client: Client, name: str, action: str, ident: str
) -> None:
    url = reverse(f"admin:llmchat_{name}_changelist")
    data = {"action": action, "_selected_action": ident, "post": "yes"}
    assert admin_client.post(url, data).status_code in (200, 302)


@pytest.mark.django_db
def test_a_log_in_with_nul_is_a_wrong_one() -> None:
    form = {"username": "a\0b", "password": "c\0"}
    response = Client().post("/admin/login/", form)
    assert response.status_code == 200
    assert "Null characters are not allowed" in response.content.decode()
