"""Kafka in and out, on aiokafka.

| module | holds |
|---|---|
| `settings` | what says how Kafka is reached: `TWINLOOP_KAFKA_*` |
| `access` | the same as one value, of which every client is made |
| `tokens` | where tokens of OAUTHBEARER come from |
| `clients` | producers that publish messages, consumers that read committed records |
| `journal` | a topic as the record of what has happened, read from its beginning |
| `provision` | a program that creates the topics |
| `acls` | a program that says, or sets, what each service may do |
| `mends` | aiokafka, mended where an outage of Kafka would end a service |
"""
