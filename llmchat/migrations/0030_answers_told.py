from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('llmchat', '0028_replaced'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='answered_by',
            field=models.CharField(blank=True, db_default='', default='', help_text='The model that the provider says has answered.', max_length=128),
        ),
        migrations.AddField(
            model_name='message',
            name='cache_read_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='Included in the input tokens.', null=True),
        ),
        migrations.AddField(
            model_name='message',
            name='cache_write_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='Included in the input tokens.', null=True),
        ),
        migrations.AddField(
            model_name='message',
            name='fingerprint',
            field=models.CharField(blank=True, db_default='', default='', help_text='Changes where a provider puts another model behind a name.', max_length=128),
        ),
    ]
