"""What a secured `amqtt` asks: who one is, and whether he may publish or hear a topic. See `mqtt_secured`."""

from __future__ import annotations

from dataclasses import dataclass, field

from amqtt.contexts import Action
from amqtt.plugins.authentication import FileAuthPlugin
from amqtt.plugins.topic_checking import TopicAccessControlListPlugin
from amqtt.session import Session


class Users(FileAuthPlugin):  # type: ignore[misc]  # amqtt is untyped
    """Asks for a password, always; and refuses a will that its user may not publish, which the broker would
    publish for him."""

    async def authenticate(self, *, session: Session) -> bool:
        """See `FileAuthPlugin`."""
        if not session.username or not await super().authenticate(session=session):
            return False
        if not session.will_flag:
            return True
        allowed = self.context.config.publish_acl.get(session.username, [])
        return any(Topics.topic_ac(session.will_topic or "", one) for one in allowed)

    @dataclass
    class Config(FileAuthPlugin.Config):  # type: ignore[misc]  # amqtt is untyped
        """The file, and who may publish what."""

        publish_acl: dict[str, list[str]] = field(default_factory=dict)


class Topics(TopicAccessControlListPlugin):  # type: ignore[misc]  # amqtt is untyped
    """The lists. What the broker itself publishes goes to nobody who may not hear it."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """See `TopicAccessControlListPlugin`."""
        return bool(await super().topic_filtering(session=session, topic=topic, action=action))

    @dataclass
    class Config:
        """Topics by user."""

        publish_acl: dict[str, list[str]] = field(default_factory=dict)
        subscribe_acl: dict[str, list[str]] = field(default_factory=dict)
        receive_acl: dict[str, list[str]] = field(default_factory=dict)
