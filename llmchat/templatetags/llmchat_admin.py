"""Filters for the admin's templates: costs, moments, Markdown, outcomes."""

from __future__ import annotations

from django import template

from llmchat.models import Message
from llmchat.reports import markdown as renderer
from llmchat.reports.moments import moment
from llmchat.reports.money import cost_of, without_cost
from llmchat.reports.outcomes import outcome_of, why
from llmchat.reports.past import note as deleted

register = template.Library()
register.filter("cost", cost_of)
register.filter("without_cost", without_cost)
register.filter("moment", moment)
register.filter("deleted", deleted)
register.filter("markdown", renderer.render)
register.filter("why", why)


@register.filter
def outcome(message: Message) -> str:
    """Return the label of an answer's outcome."""
    return str(outcome_of(message.state, message.finish_reason).label)
