{{- define "twinloop.kafka.cluster" -}}
{{- default (include "twinloop.fullname" .) .Values.kafka.strimzi.cluster -}}
{{- end -}}

{{- define "twinloop.kafka.bootstrap" -}}
{{- $kafka := .Values.kafka -}}
{{- if $kafka.trial.enabled -}}
{{ include "twinloop.fullname" . }}-kafka:9092
{{- else if and $kafka.strimzi.enabled $kafka.strimzi.createCluster -}}
{{ include "twinloop.kafka.cluster" . }}-kafka-bootstrap:9093
{{- else -}}
{{ $kafka.bootstrapServers }}
{{- end -}}
{{- end -}}

{{/* (root, program, text): `{program}` and `{prefix}` filled in. */}}
{{- define "twinloop.fill" -}}
{{- .text | replace "{program}" .program | replace "{prefix}" .root.Values.topicPrefix -}}
{{- end -}}

{{/* What of `kafka` is in force: with Strimzi's users, the Secrets that its operator makes. */}}
{{- define "twinloop.kafka.access" -}}
{{- $kafka := .Values.kafka -}}
{{- $strimzi := $kafka.strimzi -}}
{{- if $strimzi.enabled -}}
{{- $tls := eq $strimzi.authentication "tls" -}}
security: {{ $tls | ternary "SSL" "SASL_SSL" }}
tls:
  caSecret: {{ default (printf "%s-cluster-ca-cert" (include "twinloop.kafka.cluster" .)) $kafka.tls.caSecret }}
  caKey: {{ $kafka.tls.caKey }}
  clientSecret: {{ $tls | ternary (printf "%s-{program}" (include "twinloop.fullname" .)) "" | quote }}
  certKey: user.crt
  keyKey: user.key
sasl:
  mechanism: {{ $tls | ternary "" "SCRAM-SHA-512" | quote }}
  user: {{ include "twinloop.fullname" . }}-{program}
  existingSecret: {{ include "twinloop.fullname" . }}-{program}
  passwordKey: password
  oauth: {{ $kafka.sasl.oauth | toJson }}
{{- else -}}
security: {{ $kafka.security }}
tls: {{ $kafka.tls | toJson }}
sasl: {{ $kafka.sasl | toJson }}
{{- end -}}
{{- end -}}

{{/* (root, program): the variables by which a program reaches Kafka. */}}
{{- define "twinloop.kafka.env" -}}
{{- $access := include "twinloop.kafka.access" .root | fromYaml -}}
{{- $program := .program -}}
{{- $oauth := $access.sasl.oauth -}}
- name: TWINLOOP_KAFKA
  value: {{ include "twinloop.kafka.bootstrap" .root | quote }}
- name: TWINLOOP_KAFKA_SECURITY
  value: {{ $access.security }}
{{- if hasSuffix "SSL" $access.security }}
{{- if $access.tls.caSecret }}
- name: TWINLOOP_KAFKA_CA_FILE
  value: /etc/twinloop/kafka/ca.crt
{{- end }}
{{- if $access.tls.clientSecret }}
- name: TWINLOOP_KAFKA_CERT_FILE
  value: /etc/twinloop/kafka/tls.crt
- name: TWINLOOP_KAFKA_KEY_FILE
  value: /etc/twinloop/kafka/tls.key
{{- end }}
{{- end }}
{{- if hasPrefix "SASL" $access.security }}
- name: TWINLOOP_KAFKA_SASL
  value: {{ $access.sasl.mechanism }}
{{- if ne $access.sasl.mechanism "OAUTHBEARER" }}
- name: TWINLOOP_KAFKA_USER
  value: {{ include "twinloop.fill" (dict "root" .root "program" $program "text" $access.sasl.user) | quote }}
- name: TWINLOOP_KAFKA_PASSWORD_FILE
  value: /etc/twinloop/kafka/password
{{- else if $oauth.serviceAccountAudience }}
- name: TWINLOOP_KAFKA_TOKEN_FILE
  value: /etc/twinloop/kafka/token
{{- else }}
- name: TWINLOOP_KAFKA_TOKEN_URL
  value: {{ $oauth.tokenUrl | quote }}
- name: TWINLOOP_KAFKA_CLIENT_ID
  value: {{ include "twinloop.fill" (dict "root" .root "program" $program "text" $oauth.clientId) | quote }}
- name: TWINLOOP_KAFKA_CLIENT_SECRET_FILE
  value: /etc/twinloop/kafka/client-secret
{{- with $oauth.scope }}
- name: TWINLOOP_KAFKA_SCOPE
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
- name: TWINLOOP_TOPIC_PREFIX
  value: {{ .root.Values.topicPrefix | quote }}
{{- end -}}

{{/* (root, program): the sources of the volume /etc/twinloop/kafka; empty when nothing is needed. */}}
{{- define "twinloop.kafka.sources" -}}
{{- $access := include "twinloop.kafka.access" .root | fromYaml -}}
{{- $program := .program -}}
{{- if hasSuffix "SSL" $access.security }}
{{- with $access.tls.caSecret }}
- secret:
    name: {{ tpl . $.root }}
    items: [{key: {{ $access.tls.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- with $access.tls.clientSecret }}
- secret:
    name: {{ replace "{program}" $program . }}
    items:
      - {key: {{ replace "{program}" $program $access.tls.certKey | quote }}, path: tls.crt}
      - {key: {{ replace "{program}" $program $access.tls.keyKey | quote }}, path: tls.key}
{{- end }}
{{- end }}
{{- if hasPrefix "SASL" $access.security }}
{{- if and (eq $access.sasl.mechanism "OAUTHBEARER") $access.sasl.oauth.serviceAccountAudience }}
- serviceAccountToken:
    audience: {{ $access.sasl.oauth.serviceAccountAudience | quote }}
    expirationSeconds: 3600
    path: token
{{- else }}
- secret:
    name: {{ replace "{program}" $program $access.sasl.existingSecret }}
    items: [{key: {{ replace "{program}" $program $access.sasl.passwordKey | quote }}, path: {{ eq $access.sasl.mechanism "OAUTHBEARER" | ternary "client-secret" "password" }}}]
{{- end }}
{{- end }}
{{- end -}}

{{/* (root, program): that volume, or nothing. */}}
{{- define "twinloop.kafka.volume" -}}
{{- with include "twinloop.kafka.sources" . | trim }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "twinloop.kafka.mount" -}}
{{- if include "twinloop.kafka.sources" . | trim }}
- name: kafka
  mountPath: /etc/twinloop/kafka
  readOnly: true
{{- end }}
{{- end -}}

{{/* Replicas that the chart's own Kafka allows. */}}
{{- define "twinloop.kafka.replication" -}}
{{- .Values.kafka.trial.enabled | ternary 1 .Values.kafka.replication -}}
{{- end -}}
