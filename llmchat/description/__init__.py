"""The REST API as OpenAPI describes it.

A route needs an entry in a table of this package, `"POST /llm/chat": Operation(...)`,
beside those of its neighbours; `make lint` and the tests name each route without one.

    routes.py       which routes there are, found in the URLs
    operation.py    what an entry says, and how OpenAPI says it
    shapes.py       the objects in requests and responses
    accounts.py, keys.py, chat.py, conversations.py, streams.py, usage.py, openai.py,
                    probes.py: the entries
    schema.py       what drf-spectacular calls
    schema_view.py, page.py: the result, for programs and for people
    views.py        the views of both, which import the rest on the first request
"""
