"""A small stream engine: from partitions of Kafka to partitions of Kafka, exactly once.

    assigned -> open: fence the former owner -> read the committed position -> seek -> rebuild silently
    work:     poll -> take (fold, synchronous) -> finish (all partitions together) -> one transaction each
    revoked -> drain what is under way -> commit or abort -> close

| file | holds |
|---|---|
| `ports` | what the engine asks of Kafka, and what a service gives the engine |
| `errors` | what goes wrong, by meaning |
| `recovery` | where a new owner resumes (pure) |
| `worker` | one input partition: its fence and its transactions |
| `engine` | all partitions of a member: polling, pipelining, back-pressure, rebalances |
| `pace` | how fast it goes, and how it waits |
| `renewal` | states that are built beside those that work |
| `kafka` | the ports on aiokafka |
| `memory` | the ports on a model of Kafka in memory, for tests; it passes the suite of the real one |

Trouble has three outcomes. *Retry*: `finish` raises `Retry`, partitions are paused, polling goes on, the same
work is finished again later. *Reject*: `finish` makes a dead letter of the record, in the same transaction as
everything else. *Crash*: any other exception ends the process; its transactions are aborted by whoever comes
next."""
