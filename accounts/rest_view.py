"""The base of all REST views."""

from __future__ import annotations

from rest_framework.views import APIView


class RestView(APIView):
    """A view that has the methods that it defines, and no others.

    REST framework would add OPTIONS, whose response describes the code. A preflight
    request is answered before it reaches a view.
    """

    http_method_names = [
        name for name in APIView.http_method_names if name != "options"
    ]
