"""Only words: help texts, labels and messages. The database stays as it is."""

import django.core.validators
import django.db.models.deletion
import llmchat.models.hours
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_no_traces_of_tokens'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('llmchat', '0039_emptied_totals'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='budget',
            name='api_key',
            field=models.ForeignKey(blank=True, help_text='Applies in addition to the budgets of the key’s user.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to='accounts.apikey', verbose_name='API key'),
        ),
        migrations.AlterField(
            model_name='budget',
            name='group',
            field=models.ForeignKey(blank=True, help_text='All members share this budget, unless “For each member” is on.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to='auth.group'),
        ),
        migrations.AlterField(
            model_name='budget',
            name='is_default',
            field=models.BooleanField(db_default=False, default=False, help_text='Gives each user a separate budget of this size, except users who have their own budget with the same period and unit. If several budgets apply to a request, all of them must have something left.', verbose_name='default for everybody'),
        ),
        migrations.AlterField(
            model_name='budget',
            name='limit',
            field=models.DecimalField(decimal_places=6, help_text='Tokens of prompts and answers together, or US dollars. 0 allows nothing.', max_digits=18, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='budget',
            name='notice_percent',
            field=models.PositiveSmallIntegerField(blank=True, db_default=80, default=80, help_text='The percentage of the limit at which users get a notice, once per period. 0 turns notices off.', validators=[django.core.validators.MaxValueValidator(100)], verbose_name='notice at'),
        ),
        migrations.AlterField(
            model_name='budget',
            name='per_member',
            field=models.BooleanField(db_default=False, default=False, help_text='Gives each member of the group a separate budget of this size.', verbose_name='for each member'),
        ),
        migrations.AlterField(
            model_name='budget',
            name='user',
            field=models.ForeignKey(blank=True, help_text='Replaces the default budget with the same period and unit.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='message',
            name='answered_by',
            field=models.CharField(blank=True, db_default='', default='', help_text='The model that answered, according to the provider.', max_length=128),
        ),
        migrations.AlterField(
            model_name='message',
            name='cache_write_long_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='Included in the cache write tokens. They are cached for longer and cost more.', null=True),
        ),
        migrations.AlterField(
            model_name='message',
            name='fingerprint',
            field=models.CharField(blank=True, db_default='', default='', help_text='Changes when the provider changes what runs under the model’s name.', max_length=128),
        ),
        migrations.AlterField(
            model_name='message',
            name='key_id',
            field=models.BigIntegerField(blank=True, editable=False, help_text='The API key that the request was made with, if any.', null=True),
        ),
        migrations.AlterField(
            model_name='message',
            name='price',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, help_text='The price that the cost was calculated from.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='llmchat.price'),
        ),
        migrations.AlterField(
            model_name='message',
            name='replaced_by',
            field=models.PositiveIntegerField(blank=True, editable=False, help_text='Position of the question that replaced it.', null=True),
        ),
        migrations.AlterField(
            model_name='price',
            name='above_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='If a request has more input tokens than this, the prices of all its tokens are multiplied by the factors below. Leave blank for no threshold.', null=True, verbose_name='input token threshold'),
        ),
        migrations.AlterField(
            model_name='price',
            name='bills_refusals',
            field=models.BooleanField(default=True, help_text='The provider bills a refusal even if it has no output.'),
        ),
        migrations.AlterField(
            model_name='price',
            name='cache_read',
            field=models.DecimalField(blank=True, decimal_places=6, help_text='Input read from a cache. Leave blank if it costs the same as other input.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='price',
            name='cache_write',
            field=models.DecimalField(blank=True, decimal_places=6, help_text='Input written to a cache. Leave blank if it costs the same as other input.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='price',
            name='long_cache_write',
            field=models.DecimalField(blank=True, decimal_places=6, help_text='Input written to a cache for longer. Leave blank if it costs the same as other cache writes.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='price',
            name='off_days',
            field=models.TextField(blank=True, help_text='Days without peak hours, such as public holidays: 2026-10-01 2026-10-02.', validators=[llmchat.models.hours.check_days]),
        ),
        migrations.AlterField(
            model_name='price',
            name='output',
            field=models.DecimalField(decimal_places=6, help_text='US dollars per million output tokens, including reasoning.', max_digits=12, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='price',
            name='peak_hours',
            field=models.CharField(blank=True, help_text='Hours, Monday to Friday in UTC, in which all prices are multiplied by the peak factor, such as 01:00-04:00 06:00-10:00.', max_length=128, validators=[llmchat.models.hours.check_hours]),
        ),
        migrations.AlterField(
            model_name='price',
            name='valid_from',
            field=models.DateField(help_text='The first day on which this price applies, in UTC.'),
        ),
        migrations.AlterField(
            model_name='price',
            name='valid_until',
            field=models.DateField(blank=True, help_text='The first day on which this price no longer applies, in UTC. Leave blank if it applies until a newer price begins.', null=True),
        ),
        migrations.AlterField(
            model_name='provider',
            name='thinking',
            field=models.CharField(choices=[('omit', 'up to the provider'), ('disabled', 'off')], default='omit', max_length=16),
        ),
        migrations.AlterField(
            model_name='providermodel',
            name='label',
            field=models.CharField(blank=True, help_text='The name that people see. Leave blank to show the name at the provider.', max_length=128),
        ),
        migrations.AlterField(
            model_name='providermodel',
            name='missing_since',
            field=models.DateField(blank=True, editable=False, help_text='The day on which the provider’s list no longer had the model.', null=True),
        ),
        migrations.AlterField(
            model_name='providermodel',
            name='name',
            field=models.CharField(help_text='The model’s name at the provider.', max_length=128),
        ),
        migrations.AlterField(
            model_name='providermodel',
            name='position',
            field=models.PositiveSmallIntegerField(default=0, help_text='Models with lower numbers are listed first.'),
        ),
        migrations.AlterField(
            model_name='providermodel',
            name='reasons',
            field=models.BooleanField(default=False, help_text='The model thinks before it answers.'),
        ),
        migrations.AlterField(
            model_name='providermodel',
            name='retires_on',
            field=models.DateField(blank=True, help_text='The first day on which the provider no longer offers the model.', null=True),
        ),
        migrations.AlterConstraint(
            model_name='budget',
            name='budget_by_default',
            constraint=models.UniqueConstraint(condition=models.Q(('is_default', True)), fields=('period', 'unit'), name='budget_by_default', violation_error_message='There is already a default budget with this period and unit.'),
        ),
        migrations.AlterConstraint(
            model_name='budget',
            name='budget_for_members_of_a_group',
            constraint=models.CheckConstraint(condition=models.Q(('per_member', False), ('group__isnull', False), _connector='OR'), name='budget_for_members_of_a_group', violation_error_message='Choose a group, or turn off “For each member”.'),
        ),
        migrations.AlterConstraint(
            model_name='budget',
            name='budget_of_a_group',
            constraint=models.UniqueConstraint(fields=('group', 'period', 'unit', 'per_member'), name='budget_of_a_group', violation_error_message='This group already has a budget with this period, unit and “For each member” setting.'),
        ),
        migrations.AlterConstraint(
            model_name='budget',
            name='budget_of_a_user',
            constraint=models.UniqueConstraint(fields=('user', 'period', 'unit'), name='budget_of_a_user', violation_error_message='This user already has a budget with this period and unit.'),
        ),
        migrations.AlterConstraint(
            model_name='budget',
            name='budget_of_an_api_key',
            constraint=models.UniqueConstraint(fields=('api_key', 'period', 'unit'), name='budget_of_an_api_key', violation_error_message='This API key already has a budget with this period and unit.'),
        ),
        migrations.AlterConstraint(
            model_name='budget',
            name='budget_of_one_owner',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('api_key__isnull', True), ('group__isnull', True), ('is_default', False), ('user__isnull', False)), models.Q(('api_key__isnull', True), ('group__isnull', False), ('is_default', False), ('user__isnull', True)), models.Q(('api_key__isnull', False), ('group__isnull', True), ('is_default', False), ('user__isnull', True)), models.Q(('api_key', None), ('group', None), ('user', None), ('is_default', True)), _connector='OR'), name='budget_of_one_owner', violation_error_message='Choose one user, one group or one API key, or turn on “Default for everybody”.'),
        ),
        migrations.AlterConstraint(
            model_name='price',
            name='price_valid_from',
            constraint=models.UniqueConstraint(fields=('model', 'valid_from'), name='price_valid_from', violation_error_message='The model already has a price that begins on this day.'),
        ),
        migrations.AlterConstraint(
            model_name='providermodel',
            name='provider_model_name',
            constraint=models.UniqueConstraint(fields=('provider', 'name'), name='provider_model_name', violation_error_message='The provider already has a model with this name.'),
        ),
    ]
