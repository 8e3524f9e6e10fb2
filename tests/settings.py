"""The settings of the test suite: the project's settings in a known environment.

The suite must neither use nor depend on anything in the developer's own environment
and `.env`, such as a real provider's key or a production database. The variables are
set before the project's settings are read, and processes that tests start inherit
them. `LLMCHAT_TEST_DATABASE_URL` and `LLMCHAT_TEST_REDIS_URL` let the suite run on
another database and another Redis.
"""

import os

_KNOWN = {
    "LLMCHAT_ENV_FILE": "",
    "DJANGO_DEBUG": "0",
    "DJANGO_SECRET_KEY": "test-suite-secret-0123456789-abcdefghij-KLMNOP",
    "DATABASE_URL": os.environ.get("LLMCHAT_TEST_DATABASE_URL", ""),
    "REDIS_URL": os.environ.get("LLMCHAT_TEST_REDIS_URL", ""),
    "LLMCHAT_REGISTRATION": "1",
    # A Fernet key has 32 bytes in URL-safe base64.
    "LLMCHAT_ENCRYPTION_KEYS": "dGVzdC1zdWl0ZS1lbmNyeXB0aW9uLWtleS0zMmJ5dGU=",
}
_CLEARED = (
    "ALLOWED_HOSTS",
    "CORS_ALLOWED_ORIGINS",
    "CSRF_TRUSTED_ORIGINS",
    "FORCE_SCRIPT_NAME",
    "SECURE_COOKIES",
    "SECURE_HSTS_SECONDS",
    "SECURE_SSL_REDIRECT",
)
_PREFIXES = ("LLMCHAT_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "DEEPSEEK_")

for _name in list(os.environ):
    if _name in _CLEARED or (
        _name.startswith(_PREFIXES)
        and not _name.startswith(("LLMCHAT_TEST_", "LLMCHAT_CHROMIUM"))
    ):
        del os.environ[_name]
os.environ.update(_KNOWN)

from config.settings import *  # noqa: E402, F403

# The suite tests that passwords are hashed, not how long that takes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Each of Django's test clients creates the middleware again, which would then scan the
# folders of all static files. The servers that tests start do scan them.
WHITENOISE_AUTOREFRESH = True
