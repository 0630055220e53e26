"""Who we are at Kafka, as Faust wants it said."""

from __future__ import annotations

from typing import Any

from faust import auth

from twinloop.runtime.kafka.access import KafkaAccess


def credentials(kafka: KafkaAccess) -> Any:
    """`broker_credentials` of an app; `None` where nobody is asked who he is. Raises `AccessUnusable`."""
    given = kafka.client()
    context = given.get("ssl_context")
    if provider := given.get("sasl_oauth_token_provider"):
        return auth.OAuthCredentials(oauth_cb=provider, ssl_context=context)
    if mechanism := given.get("sasl_mechanism"):
        return auth.SASLCredentials(
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            mechanism=mechanism,
            ssl_context=context,
        )
    return None if context is None else auth.SSLCredentials(context)
