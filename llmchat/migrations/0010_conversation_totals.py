"""Conversations keep what their answers add up to."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Count, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce


def add_up(apps, schema_editor):
    """Fill the new fields of the conversations that are there."""
    Conversation = apps.get_model("llmchat", "Conversation")
    Message = apps.get_model("llmchat", "Message")
    answers = (
        Message.objects.filter(conversation=OuterRef("pk"), role="assistant")
        .exclude(session_id="")
        .order_by()
    )

    def total(aggregate):
        rows = answers.values("conversation").annotate(total=aggregate)
        return Coalesce(Subquery(rows.values("total")), 0)

    latest = answers.order_by("-position")
    Conversation.objects.update(
        turn_count=total(Count("pk")),
        input_tokens=total(Sum("input_tokens")),
        output_tokens=total(Sum("output_tokens")),
        cost=Coalesce(
            Subquery(
                answers.values("conversation")
                .annotate(total=Sum("cost"))
                .values("total")
            ),
            0,
            output_field=models.DecimalField(),
        ),
        state=Coalesce(Subquery(latest.values("state")[:1]), models.Value("")),
        model=Coalesce(Subquery(latest.values("model")[:1]), models.Value("")),
    )


class Migration(migrations.Migration):

    dependencies = [
        ('llmchat', '0002_default_providers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='RunningStream',
            fields=[
            ],
            options={
                'verbose_name': 'running stream',
                'verbose_name_plural': 'streaming now',
                'proxy': True,
                'indexes': [],
                'constraints': [],
            },
            bases=('llmchat.message',),
        ),
        migrations.AddField(
            model_name='conversation',
            name='cost',
            field=models.DecimalField(db_default=0, decimal_places=10, default=0, editable=False, help_text='US dollars, of the answers with a known price.', max_digits=16),
        ),
        migrations.AddField(
            model_name='conversation',
            name='input_tokens',
            field=models.PositiveBigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name='conversation',
            name='model',
            field=models.CharField(blank=True, db_default='', default='', editable=False, help_text='Of the latest answer.', max_length=128),
        ),
        migrations.AddField(
            model_name='conversation',
            name='output_tokens',
            field=models.PositiveBigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name='conversation',
            name='state',
            field=models.CharField(blank=True, choices=[('complete', 'complete'), ('streaming', 'streaming'), ('cancelled', 'cancelled'), ('error', 'error'), ('interrupted', 'interrupted')], db_default='', default='', editable=False, help_text='Of the latest answer.', max_length=16),
        ),
        migrations.AddField(
            model_name='conversation',
            name='turn_count',
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name='providerkey',
            name='prefix',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=3),
        ),
        migrations.RunPython(add_up, migrations.RunPython.noop),
    ]
