import django.core.validators
import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Conversation',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('title', models.CharField(blank=True, max_length=120)),
                ('provider', models.CharField(help_text='Of the latest turn.', max_length=64)),
                ('thread_hash', models.CharField(editable=False, max_length=64)),
                ('message_count', models.PositiveIntegerField(default=0, editable=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField()),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='conversations', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-updated_at'],
            },
        ),
        migrations.CreateModel(
            name='Message',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('position', models.PositiveIntegerField()),
                ('role', models.CharField(choices=[('system', 'system'), ('user', 'user'), ('assistant', 'assistant')], max_length=16)),
                ('content', models.TextField(blank=True)),
                ('state', models.CharField(choices=[('complete', 'complete'), ('streaming', 'streaming'), ('cancelled', 'cancelled'), ('error', 'error'), ('interrupted', 'interrupted')], default='complete', max_length=16)),
                ('created_at', models.DateTimeField()),
                ('session_id', models.CharField(blank=True, max_length=128)),
                ('provider', models.CharField(blank=True, max_length=64)),
                ('model', models.CharField(blank=True, max_length=128)),
                ('finish_reason', models.CharField(blank=True, max_length=32)),
                ('error_code', models.CharField(blank=True, max_length=64)),
                ('input_tokens', models.PositiveIntegerField(blank=True, null=True)),
                ('output_tokens', models.PositiveIntegerField(blank=True, null=True)),
                ('usage_source', models.CharField(blank=True, choices=[('provider', 'counted by the provider'), ('estimated', 'estimated')], max_length=16)),
                ('cost', models.DecimalField(blank=True, decimal_places=10, help_text='US dollars.', max_digits=16, null=True)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('first_token_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('worker', models.CharField(blank=True, max_length=96)),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('stop_requested', models.BooleanField(default=False)),
                ('conversation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='llmchat.conversation')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['conversation', 'position'],
            },
        ),
        migrations.CreateModel(
            name='Provider',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.SlugField(max_length=64, unique=True)),
                ('label', models.CharField(help_text='Shown to people.', max_length=64)),
                ('protocol', models.CharField(choices=[('openai', 'OpenAI chat completions'), ('deepseek', 'DeepSeek'), ('claude', 'Anthropic messages'), ('gemini', 'Gemini generateContent')], max_length=16)),
                ('enabled', models.BooleanField(default=True)),
                ('embedded', models.BooleanField(default=False, help_text='Served by the language model that this server starts itself.')),
                ('base_url', models.CharField(blank=True, help_text='Blank: the address from the environment.', max_length=200, validators=[django.core.validators.RegexValidator('^https?://[^\\s/?#@]+(/[^\\s?#]*)?\\Z', 'Must be an http or https address without user, query and fragment.')])),
                ('default_model', models.CharField(help_text='Answers where a request names no model.', max_length=128)),
                ('needs_key', models.BooleanField(default=True)),
                ('max_tokens_field', models.CharField(choices=[('max_tokens', 'Max Tokens'), ('max_completion_tokens', 'Max Completion Tokens')], default='max_tokens', max_length=24)),
                ('max_output_tokens', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('accepts_sampling', models.BooleanField(default=True, help_text='Whether the model takes a temperature.')),
                ('temperature_max', models.FloatField(default=2.0)),
                ('system_role', models.CharField(choices=[('system', 'System'), ('developer', 'Developer')], default='system', max_length=16)),
                ('thinking', models.CharField(choices=[('omit', 'say nothing of it'), ('disabled', 'switch it off')], default='omit', max_length=16)),
                ('include_usage', models.BooleanField(default=True, help_text='Whether to ask for token counts at the end.')),
                ('input_price', models.DecimalField(blank=True, decimal_places=4, help_text='US dollars for a million input tokens; blank: not known.', max_digits=10, null=True, validators=[django.core.validators.MinValueValidator(0)])),
                ('output_price', models.DecimalField(blank=True, decimal_places=4, help_text='US dollars for a million output tokens; blank: not known.', max_digits=10, null=True, validators=[django.core.validators.MinValueValidator(0)])),
                ('fallback', models.ForeignKey(blank=True, help_text='Asked where this provider cannot answer.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='fallback_of', to='llmchat.provider')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.CreateModel(
            name='ProviderKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(blank=True, help_text='Whose or what the key is.', max_length=64)),
                ('encrypted_value', models.TextField(editable=False)),
                ('last4', models.CharField(editable=False, max_length=4)),
                ('enabled', models.BooleanField(default=True)),
                ('resting_until', models.DateTimeField(blank=True, help_text='Not used before, after a refusal.', null=True)),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('last_error', models.CharField(blank=True, editable=False, max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('provider', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='keys', to='llmchat.provider')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(fields=['user', 'thread_hash', '-updated_at'], name='conversation_thread'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(fields=['user', '-updated_at'], name='conversation_recent'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(fields=['-updated_at'], name='conversation_updated'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('state', 'streaming')), fields=['lease_until'], name='message_streaming'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['-created_at'], name='message_created'),
        ),
        migrations.AddConstraint(
            model_name='message',
            constraint=models.UniqueConstraint(fields=('conversation', 'position'), name='message_position'),
        ),
        migrations.AddConstraint(
            model_name='message',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'streaming')), fields=('user', 'session_id'), name='message_one_stream_for_a_session'),
        ),
    ]
