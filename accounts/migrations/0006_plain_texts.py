"""Only words: help texts. The database stays as it is."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_no_traces_of_tokens'),
    ]

    operations = [
        migrations.AlterField(
            model_name='apikey',
            name='expires_at',
            field=models.DateTimeField(blank=True, help_text='In UTC. Leave blank if the key does not expire.', null=True),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='messages_per_minute',
            field=models.PositiveIntegerField(blank=True, help_text='A limit for this key, in addition to the user’s. Leave blank for none.', null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='name',
            field=models.CharField(help_text='What the key is for, such as the program that uses it.', max_length=100),
        ),
    ]
