"""Django's settings, which all come from the environment and `.env`.

The README describes every variable. The project's own values are in `LLMCHAT`, which
only `llmchat/conf.py` and `accounts/conf.py` read. It is one long file, as Django users
expect; logic is in `config/environment.py` and `serving/logs.py`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import global_settings

from config import environment as env
from config.admin_look import UNFOLD as UNFOLD
from llmchat.conf import Conf
from serving import logs

BASE_DIR = Path(__file__).resolve().parent.parent

env.read_dotenv(BASE_DIR / ".env")

DEBUG = env.boolean("DJANGO_DEBUG", False)

# Signs sessions and access tokens; HS256 needs at least 32 bytes.
SECRET_KEY = env.text("DJANGO_SECRET_KEY")
if not SECRET_KEY and DEBUG:
    SECRET_KEY = "debug-only-" + "not-a-secret-" * 4
if len(SECRET_KEY.encode()) < 32 or len(set(SECRET_KEY)) < 8:
    env.refuse(
        "DJANGO_SECRET_KEY",
        "must be set to at least 32 random characters (`make install` writes one)",
    )

ALLOWED_HOSTS = list(env.names("ALLOWED_HOSTS", ("localhost", "127.0.0.1", "[::1]")))
if "*" in ALLOWED_HOSTS and not DEBUG:
    env.refuse(
        "ALLOWED_HOSTS", "must list the host names; * is allowed only with DJANGO_DEBUG"
    )

# --- The server (serving/__main__.py) -------------------------------------------

HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 3000, least=1, most=65_535)
# uvicorn reads this variable, too.
WEB_CONCURRENCY = env.integer("WEB_CONCURRENCY", 1, least=1, most=256)
# Addresses of the proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.
FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", anybody=True)
# The path below which a proxy shows the server; every address begins with it.
_PREFIX = env.url_prefix("FORCE_SCRIPT_NAME")
FORCE_SCRIPT_NAME = _PREFIX or None

# --- Applications ----------------------------------------------------------------

INSTALLED_APPS = [
    "serving.apps.DaphneConfig",
    # The admin's theme replaces the admin site, so it precedes the admin. The token app
    # precedes the accounts, which unregister its pages in the admin.
    "unfold",
    "unfold.contrib.filters",
    "rest_framework_simplejwt.token_blacklist",
    "accounts",
    "llmchat",
    "rest_framework",
    "drf_spectacular",
    "channels",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

# All are asynchronous: a synchronous middleware would hold a thread while a request
# waits for a provider.
MIDDLEWARE = [
    "serving.request_id.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "serving.content_security.ContentSecurityMiddleware",
    "serving.unstorable.NulMiddleware",
    "serving.middleware.StaticFilesMiddleware",
    "serving.middleware.CorsMiddleware",
    "serving.outages.DatabaseMiddleware",
    "serving.unstorable.AdminInputMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "serving.middleware.HostMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
# Hides keys and passwords on the debug page of an exception.
DEFAULT_EXCEPTION_REPORTER_FILTER = "serving.fault_page.SecretsFilter"
# An action of the admin sends a field for each selected row. Django's default limit of
# 1,000 is too low for the conversations of a busy user.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000
# Every route works with and without a trailing slash, so nothing is redirected: a
# redirected POST would lose its body.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Storage ---------------------------------------------------------------------

DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 10, least=1, most=1000)


def _database() -> dict[str, Any]:
    """Return Django's settings of it; options in DATABASE_URL win over those here."""
    settings = env.database("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
    given = settings.get("OPTIONS", {})
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        # Writers queue at BEGIN instead of failing in the middle of a transaction, and
        # readers never wait for writers. What a statement on many rows needs to be
        # undone is kept in memory, not in a temporary file for each statement.
        options = {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
            "PRAGMA temp_store=MEMORY;",
        }
        settings["ENGINE"] = "llmchat.engines.sqlite"
        return settings | {"OPTIONS": options | given}
    settings["ENGINE"] = "llmchat.engines.postgresql"
    return _POSTGRES | settings | {"OPTIONS": _POSTGRES_OPTIONS | given}


_POSTGRES = {
    # Without health checks, each connection would fail once after an outage.
    "CONN_HEALTH_CHECKS": True,
    "CONN_MAX_AGE": 0,
}
_POSTGRES_OPTIONS = {
    # The timeouts are short: the engine retries until its caller's deadline.
    "pool": {
        "min_size": 1,
        "max_size": DATABASE_POOL_SIZE,
        "timeout": 1,
        "reconnect_timeout": 3,
    },
    # These detect a dead machine. All are in seconds, except the last, which is in
    # milliseconds.
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.redis_url("REDIS_URL")
if WEB_CONCURRENCY > 1 and not REDIS_URL:
    env.refuse("WEB_CONCURRENCY", "above 1 needs REDIS_URL, which the workers share")
if REDIS_URL:
    CHANNEL_LAYERS: dict[str, Any] = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }
    CACHES: dict[str, Any] = {
        "default": {
            "BACKEND": "llmchat.cache.SharedCache",
            "LOCATION": REDIS_URL,
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # Large, because a limit does not hold if its counter is evicted.
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    }

SILENCED_SYSTEM_CHECKS = [
    # HSTS for subdomains and preloading concern the whole domain, so they are
    # configured at the proxy.
    "security.W005",
    "security.W021",
    # The library recognizes only some caches, by their names.
    "django_ratelimit.W001",
]
if not REDIS_URL:
    # Rate limits need a cache that all processes share. Without Redis there is only one
    # process (see above), so its own memory suffices.
    SILENCED_SYSTEM_CHECKS += ["django_ratelimit.E003"]

# --- Static files ----------------------------------------------------------------

STATIC_URL = f"{_PREFIX}/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "serving.static.CollectedStorage"
    },
}
# Before `collectstatic`, files are served from their source folders.
WHITENOISE_USE_FINDERS = True

# --- People and tokens -----------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "admin:login"
# The first hashes passwords. Those hashed by the others are rehashed at the next
# log-in.
PASSWORD_HASHERS = [
    "serving.hashers.PasswordHasher",
    *global_settings.PASSWORD_HASHERS[1:],
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "ACCESS_TOKEN_LIFETIME": timedelta(
        minutes=env.integer("ACCESS_TOKEN_MINUTES", 30, least=1, most=1440)
    ),
    "REFRESH_TOKEN_LIFETIME": timedelta(
        days=env.integer("REFRESH_TOKEN_DAYS", 14, least=1, most=365)
    ),
    "USER_ID_CLAIM": "user_id",
    # How many seconds the clock of another machine can be ahead.
    "LEEWAY": 10,
}

REST_FRAMEWORK = {
    "DEFAULT_PARSER_CLASSES": ["serving.parsers.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.HasScope"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "serving.negotiation.ContentNegotiation",
    "DEFAULT_SCHEMA_CLASS": "llmchat.description.schema.DescribedSchema",
    "EXCEPTION_HANDLER": "serving.errors.api_exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "llmchat",
    "DESCRIPTION": "Answers of language models, whole or as streams of events. Errors "
    "have a stable `code` for programs and a message for people, whose wording may "
    "change. Every path works with and without a trailing slash; a method that a path "
    "does not support gets 405 `method_not_allowed`.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVERS": [{"url": _PREFIX}] if _PREFIX else [],
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["llmchat.description.schema.with_readable_paths"],
    "POSTPROCESSING_HOOKS": ["llmchat.description.schema.completed"],
}

# --- Security behind a proxy -----------------------------------------------------

# TLS ends at the proxy, so plain HTTP is allowed by default. The server trusts the
# proxy for the client's address and scheme (docs/operations.md).
SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", False)
# Probes speak plain HTTP.
SECURE_REDIRECT_EXEMPT = [rf"^({_PREFIX[1:]}/)?(healthz|readyz|metrics)/?$"]
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 0, least=0)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.boolean(
    "SECURE_COOKIES", SECURE_SSL_REDIRECT
)
CSRF_TRUSTED_ORIGINS = list(env.origins("CSRF_TRUSTED_ORIGINS"))
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = _PREFIX or "/"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# The certificates by which providers are verified. They are only checked here, and the
# tidied values are put back into the environment: `llmchat.providers.http.tls` reads
# them from there, as OpenSSL does.
for _name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
    env.tidy(_name)
env.file("SSL_CERT_FILE")
env.folders("SSL_CERT_DIR")

# --- Language and time -----------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]

# --- Logging ---------------------------------------------------------------------

LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    env.refuse("LOG_LEVEL", "must be DEBUG, INFO, WARNING, ERROR or CRITICAL")

LOGGING = logs.configuration(LOG_LEVEL, for_people=DEBUG)

# --- The project's own values ----------------------------------------------------

_DEFAULTS = Conf()

LLMCHAT: dict[str, Any] = {
    "messages_per_minute": env.integer(
        "LLMCHAT_MESSAGES_PER_MINUTE", _DEFAULTS.messages_per_minute, least=0
    ),
    "max_streams_per_user": env.integer(
        "LLMCHAT_MAX_STREAMS_PER_USER", _DEFAULTS.max_streams_per_user, least=1
    ),
    "registration": env.boolean("LLMCHAT_REGISTRATION", DEBUG),
    "login_attempts_per_minute": env.integer(
        "LLMCHAT_LOGIN_ATTEMPTS_PER_MINUTE",
        _DEFAULTS.login_attempts_per_minute,
        least=0,
    ),
    "connect_timeout_s": env.seconds(
        "LLMCHAT_CONNECT_TIMEOUT_S", _DEFAULTS.connect_timeout_s
    ),
    "first_token_timeout_s": env.seconds(
        "LLMCHAT_FIRST_TOKEN_TIMEOUT_S", _DEFAULTS.first_token_timeout_s
    ),
    "idle_timeout_s": env.seconds("LLMCHAT_IDLE_TIMEOUT_S", _DEFAULTS.idle_timeout_s),
    "total_timeout_s": env.seconds(
        "LLMCHAT_TOTAL_TIMEOUT_S", _DEFAULTS.total_timeout_s
    ),
    "ping_interval_ms": env.integer(
        "LLMCHAT_PING_INTERVAL_MS", _DEFAULTS.ping_interval_ms, least=10
    ),
    "ping_timeout_ms": env.integer(
        "LLMCHAT_PING_TIMEOUT_MS", _DEFAULTS.ping_timeout_ms, least=10
    ),
    "max_payload_bytes": env.integer(
        "LLMCHAT_MAX_PAYLOAD_BYTES", _DEFAULTS.max_payload_bytes, least=1000
    ),
    "recovery_window_s": env.seconds(
        "LLMCHAT_RECOVERY_WINDOW_S", _DEFAULTS.recovery_window_s
    ),
    "keep_alive_s": env.seconds("LLMCHAT_KEEP_ALIVE_S", _DEFAULTS.keep_alive_s),
    "request_timeout_s": env.seconds(
        "LLMCHAT_REQUEST_TIMEOUT_S", _DEFAULTS.request_timeout_s
    ),
    "max_connections": env.integer(
        "LLMCHAT_MAX_CONNECTIONS", _DEFAULTS.max_connections, least=10
    ),
    "max_sockets_per_user": env.integer(
        "LLMCHAT_MAX_SOCKETS_PER_USER", _DEFAULTS.max_sockets_per_user, least=1
    ),
    "drain_s": env.seconds("LLMCHAT_DRAIN_S", _DEFAULTS.drain_s),
    "metrics_allow": env.networks("LLMCHAT_METRICS_ALLOW"),
    "metrics_token": env.text("LLMCHAT_METRICS_TOKEN"),
    "otel": env.boolean("LLMCHAT_OTEL", _DEFAULTS.otel),
    "cors_allowed_origins": env.origins("CORS_ALLOWED_ORIGINS", apps=True),
    "debug_origins": DEBUG,
    "encryption_keys": env.fernet_keys("LLMCHAT_ENCRYPTION_KEYS"),
    "openai_api_key": env.text("OPENAI_API_KEY"),
    "anthropic_api_key": env.text("ANTHROPIC_API_KEY"),
    "gemini_api_key": env.text("GEMINI_API_KEY"),
    "deepseek_api_key": env.text("DEEPSEEK_API_KEY"),
    "openai_base_url": env.http_url("OPENAI_BASE_URL", _DEFAULTS.openai_base_url),
    "anthropic_base_url": env.http_url(
        "ANTHROPIC_BASE_URL", _DEFAULTS.anthropic_base_url
    ),
    "gemini_base_url": env.http_url("GEMINI_BASE_URL", _DEFAULTS.gemini_base_url),
    "deepseek_base_url": env.http_url("DEEPSEEK_BASE_URL", _DEFAULTS.deepseek_base_url),
}

# Other code reads these from the environment, where it needs them.
env.report_misspelt("DEMO_PASSWORD", "ENV_FILE", "LOCAL_LOG", "CHROMIUM")
