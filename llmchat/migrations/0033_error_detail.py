"""Why an answer failed, for operators."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llmchat", "0028_replaced"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="error_detail",
            field=models.CharField(blank=True, db_default="", default="", help_text="Why it failed, for operators.", max_length=300),
        ),
    ]
