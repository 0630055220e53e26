{{/* What each program is told: variables, volumes and mounts, by the program's name. All get (root, key, own). */}}

{{- define "twinloop.mqtt.address" -}}
{{- .Values.mqtt.trial.enabled | ternary (printf "%s-mqtt:1883" (include "twinloop.fullname" .)) .Values.mqtt.address -}}
{{- end -}}

{{/*
The address that is called for inferences. Where there are several pods the headless name, so that clients see each of
them and take turns. Of a single one the name with an address of its own: while no pod is ready a headless name does not
exist, and gRPC asks for a name that is not there ever more rarely, up to every two minutes.
*/}}
{{- define "twinloop.triton.address" -}}
{{- if .Values.triton.address -}}
{{ .Values.triton.address }}
{{- else -}}
{{ include "twinloop.fullname" . }}-triton{{ if include "twinloop.triton.many" . }}-headless{{ end }}:8001
{{- end -}}
{{- end -}}

{{- define "twinloop.plc.endpoint" -}}
{{- default (printf "opc.tcp://%s-simulator:4840/twinloop/" (include "twinloop.fullname" .)) .Values.line.opcua.endpoint -}}
{{- end -}}

{{- define "twinloop.env.mqtt" -}}
- name: TWINLOOP_MQTT
  value: {{ include "twinloop.mqtt.address" .root | quote }}
{{- $mqtt := .root.Values.mqtt }}
{{- if not $mqtt.trial.enabled }}
{{- if $mqtt.user }}
- name: TWINLOOP_MQTT_USER
  value: {{ $mqtt.user | quote }}
- name: TWINLOOP_MQTT_PASSWORD_FILE
  value: /etc/twinloop/mqtt/password
{{- end }}
{{- if $mqtt.tls.caSecret }}
- name: TWINLOOP_MQTT_CA_FILE
  value: /etc/twinloop/mqtt/ca.crt
{{- end }}
{{- if $mqtt.tls.clientSecret }}
- name: TWINLOOP_MQTT_CERT_FILE
  value: /etc/twinloop/mqtt/tls.crt
- name: TWINLOOP_MQTT_KEY_FILE
  value: /etc/twinloop/mqtt/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{- define "twinloop.sources.mqtt" -}}
{{- $mqtt := .root.Values.mqtt -}}
{{- if not $mqtt.trial.enabled }}
{{- if $mqtt.user }}
- secret:
    name: {{ $mqtt.existingSecret }}
    items: [{key: {{ $mqtt.passwordKey | quote }}, path: password}]
{{- end }}
{{- if $mqtt.tls.caSecret }}
- secret:
    name: {{ $mqtt.tls.caSecret }}
    items: [{key: {{ $mqtt.tls.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- if $mqtt.tls.clientSecret }}
- secret:
    name: {{ $mqtt.tls.clientSecret }}
    items:
      - {key: {{ $mqtt.tls.certKey | quote }}, path: tls.crt}
      - {key: {{ $mqtt.tls.keyKey | quote }}, path: tls.key}
{{- end }}
{{- end }}
{{- end -}}

{{/* Who may use an API: a file of people, an issuer of tokens, or both. */}}
{{- define "twinloop.env.access" -}}
{{- $access := .root.Values.access -}}
{{- if $access.people.key }}
- name: TWINLOOP_ACCESS_PEOPLE
  value: /etc/twinloop/access/people.toml
{{- end }}
{{- with $access.oidc.issuer }}
- name: TWINLOOP_ACCESS_ISSUER
  value: {{ . | quote }}
- name: TWINLOOP_ACCESS_AUDIENCE
  value: {{ $access.oidc.audience | quote }}
{{- if $access.oidc.jwksConfigMap }}
- name: TWINLOOP_ACCESS_JWKS_FILE
  value: /etc/twinloop/access/jwks.json
{{- else }}
- name: TWINLOOP_ACCESS_JWKS_URL
  value: {{ $access.oidc.jwksUrl | quote }}
{{- end }}
{{- with $access.oidc.rolesClaim }}
- name: TWINLOOP_ACCESS_ROLES_CLAIM
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "twinloop.sources.access" -}}
{{- $access := .root.Values.access -}}
{{- if $access.people.key }}
- secret:
    name: {{ include "twinloop.secret" (dict "root" .root "own" $access.people.existingSecret "at" "access.people" "called" "People who may use the APIs") }}
    items: [{key: {{ $access.people.key | quote }}, path: people.toml}]
{{- end }}
{{- if and $access.oidc.issuer $access.oidc.jwksConfigMap }}
- configMap:
    name: {{ $access.oidc.jwksConfigMap }}
    items: [{key: jwks.json, path: jwks.json}]
{{- end }}
{{- end -}}

{{/* Certificate, key and trusted certificates of OPC UA: (root, opcua, at). */}}
{{- define "twinloop.sources.opcua" -}}
{{- $opcua := .opcua -}}
{{- if eq $opcua.security "sign_and_encrypt" }}
- secret:
    name: {{ include "twinloop.secret" (dict "root" .root "own" $opcua.existingSecret "at" .at "called" "OPC UA certificates") }}
    items:
      - {key: {{ $opcua.certKey | quote }}, path: own.cert.der}
      - {key: {{ $opcua.keyKey | quote }}, path: own.key.pem}
      {{- range $opcua.trustedKeys }}
      - {key: {{ . | quote }}, path: {{ printf "trusted/%s" . | quote }}}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "twinloop.plant.configmap" -}}
{{- default (printf "%s-plant" (include "twinloop.fullname" .)) .Values.plant.existingConfigMap -}}
{{- end -}}

{{/* The file `name` of the plant, or nothing: a text of values, or that of the reference plant. (root, name) */}}
{{- define "twinloop.plant.file" -}}
{{- $own := get .root.Values.plant.config (.name | replace "signal_sets" "signalSets") -}}
{{- if $own -}}
{{ $own }}
{{- else if .root.Values.plant.reference -}}
{{ .root.Files.Get (printf "files/plant/%s.toml" .name) }}
{{- end -}}
{{- end -}}

{{/* "yes" when a file of the plant is there. Of a ConfigMap of your own, `plant.existingFiles` says so. (root, name) */}}
{{- define "twinloop.plant.has" -}}
{{- if .root.Values.plant.existingConfigMap -}}
{{- if has .name .root.Values.plant.existingFiles -}}yes{{- end -}}
{{- else if include "twinloop.plant.file" . | trim -}}yes{{- end -}}
{{- end -}}

{{- define "twinloop.env.ingest" -}}
{{ include "twinloop.env.mqtt" . }}
- name: TWINLOOP_INGEST_PSEUDONYM_KEY_FILE
  value: /etc/twinloop/pseudonym/key
- name: TWINLOOP_INGEST_VEHICLE_MAX_AGE_S
  value: {{ .own.vehicleMaxAgeSeconds | quote }}
{{- if include "twinloop.plant.has" (dict "root" .root "name" "signal_sets") }}
- name: TWINLOOP_INGEST_SIGNAL_SETS
  value: /etc/twinloop/plant/signal_sets.toml
{{- end }}
{{ include "twinloop.env.access" . }}
{{- end -}}

{{- define "twinloop.env.detector" -}}
- name: TWINLOOP_TRITON
  value: {{ include "twinloop.triton.address" .root | quote }}
- name: TWINLOOP_DETECTOR_GROUP
  value: {{ kebabcase .key }}
- name: TWINLOOP_DETECTOR_TOPICS
  value: {{ .own.topics | quote }}
- name: TWINLOOP_DETECTOR_SCORE_EVERY
  value: {{ .own.scoreEvery | quote }}
- name: TWINLOOP_DETECTOR_SHARED_MEMORY
  value: "false"
{{- end -}}

{{- define "twinloop.env.historian" -}}
- name: TWINLOOP_HISTORIAN_FOLDER
  value: /parquet
{{- end -}}

{{- define "twinloop.env.modelops" -}}
- name: TWINLOOP_TRITON
  value: {{ include "twinloop.triton.address" .root | quote }}
- name: TWINLOOP_MODEL_REPOSITORY
  value: /models
- name: TWINLOOP_MODELOPS_PLATFORM
  value: {{ .root.Values.triton.platform }}
- name: TWINLOOP_MODELOPS_AUDIT
  value: /data/audit
- name: TWINLOOP_MODELOPS_LOAD_TIMEOUT_S
  value: {{ .own.loadTimeoutSeconds | quote }}
- name: TWINLOOP_MODELOPS_BUDGET_S
  value: {{ .own.budgetSeconds | quote }}
{{- if include "twinloop.plant.has" (dict "root" .root "name" "serving") }}
- name: TWINLOOP_SERVING
  value: /etc/twinloop/plant/serving.toml
{{- end }}
{{ include "twinloop.env.access" . }}
{{- end -}}

{{- define "twinloop.env.controller" -}}
- name: TWINLOOP_CONTROLLER_ASSETS
  value: /etc/twinloop/plant/controller.toml
- name: TWINLOOP_CONTROLLER_DATA
  value: /data/state
- name: TWINLOOP_CONTROLLER_AUDIT
  value: /data/audit
- name: TWINLOOP_CONTROLLER_AUDIT_CHAIN
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: TWINLOOP_TOPIC_REPLICATION
  value: {{ include "twinloop.kafka.replication" .root | quote }}
{{- if include "twinloop.plant.has" (dict "root" .root "name" "field") }}
- name: TWINLOOP_CONTROLLER_FIELD
  value: /etc/twinloop/plant/field.toml
{{- end }}
{{ include "twinloop.env.access" . }}
{{- end -}}

{{- define "twinloop.env.twin" -}}
- name: TWINLOOP_TWIN_ASSETS
  value: /etc/twinloop/plant/twin.toml
- name: TWINLOOP_TWIN_MODELS
  value: /processes
- name: TWINLOOP_TWIN_SIGNING_KEY
  value: /etc/twinloop/signing/twin.key.pem
- name: TWINLOOP_TWIN_AUDIT
  value: /data/audit
- name: TWINLOOP_TWIN_AUDIT_CHAIN
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{ include "twinloop.env.access" . }}
{{- end -}}

{{- define "twinloop.env.line" -}}
- name: TWINLOOP_OPCUA
  value: {{ include "twinloop.plc.endpoint" .root | quote }}
- name: TWINLOOP_LINE_ASSETS
  value: /etc/twinloop/plant/line.toml
- name: TWINLOOP_LINE_APPROVERS
  value: /etc/twinloop/approvers
- name: TWINLOOP_LINE_AUDIT
  value: /data/audit
- name: TWINLOOP_LINE_OPCUA_SECURITY
  value: {{ .own.opcua.security }}
{{- if eq .own.opcua.security "sign_and_encrypt" }}
- name: TWINLOOP_LINE_OPCUA_CERTIFICATE
  value: /etc/twinloop/opcua/own.cert.der
- name: TWINLOOP_LINE_OPCUA_KEY
  value: /etc/twinloop/opcua/own.key.pem
- name: TWINLOOP_LINE_OPCUA_TRUSTED
  value: /etc/twinloop/opcua/trusted
{{- end }}
{{ include "twinloop.env.access" . }}
{{- end -}}

{{- define "twinloop.env.simulator" -}}
{{ include "twinloop.env.mqtt" . }}
- name: TWINLOOP_OPCUA
  value: opc.tcp://0.0.0.0:4840/twinloop/
- name: TWINLOOP_SIMULATOR_STATIONS
  value: /etc/twinloop/plant/simulator.toml
- name: TWINLOOP_SIMULATOR_INGEST
  value: http://{{ include "twinloop.fullname" .root }}-ingest:8080
{{- if .own.senderToken.key }}
- name: TWINLOOP_SIMULATOR_INGEST_TOKEN_FILE
  value: /etc/twinloop/sender/token
{{- end }}
- name: TWINLOOP_SIMULATOR_PRIMARY_HOST
  value: twinloop
- name: TWINLOOP_TOPIC_PREFIX
  value: {{ .root.Values.topicPrefix | quote }}
- name: TWINLOOP_SIMULATOR_OPCUA_SECURITY
  value: {{ .own.opcua.security }}
{{- if eq .own.opcua.security "sign_and_encrypt" }}
- name: TWINLOOP_SIMULATOR_OPCUA_CERTIFICATE
  value: /etc/twinloop/opcua/own.cert.der
- name: TWINLOOP_SIMULATOR_OPCUA_KEY
  value: /etc/twinloop/opcua/own.key.pem
- name: TWINLOOP_SIMULATOR_OPCUA_TRUSTED
  value: /etc/twinloop/opcua/trusted
{{- end }}
{{- end -}}

{{/* The projected volumes of a program, by name: (root, key, own, program). A name without sources has no volume. */}}
{{- define "twinloop.projected" -}}
{{- $sources := dict -}}
{{- $mqtt := has .program (list "ingest" "simulator") | ternary (include "twinloop.sources.mqtt" .) "" -}}
{{- $_ := set $sources "mqtt" ($mqtt | trim) -}}
{{- if has .program (list "ingest" "modelops" "controller" "twin" "line") -}}
{{- $_ := set $sources "access" (include "twinloop.sources.access" . | trim) -}}
{{- end -}}
{{- if eq .program "ingest" -}}
{{- $secret := include "twinloop.secret" (dict "root" .root "own" .own.pseudonymKey.existingSecret "at" "ingest.pseudonymKey" "called" "The key of pseudonyms") -}}
{{- $_ := set $sources "pseudonym" (list (dict "secret" (dict "name" $secret "items" (list (dict "key" .own.pseudonymKey.key "path" "key")))) | toYaml) -}}
{{- end -}}
{{- if and (eq .program "simulator") .own.senderToken.key -}}
{{- $secret := include "twinloop.secret" (dict "root" .root "own" .own.senderToken.existingSecret "at" "simulator.senderToken" "called" "The token by which ingest knows the simulator") -}}
{{- $_ := set $sources "sender" (list (dict "secret" (dict "name" $secret "items" (list (dict "key" .own.senderToken.key "path" "token")))) | toYaml) -}}
{{- end -}}
{{- if eq .program "twin" -}}
{{- $secret := include "twinloop.secret" (dict "root" .root "own" .own.signingKey.existingSecret "at" "twin.signingKey" "called" "The key that releases are signed by") -}}
{{- $_ := set $sources "signing" (list (dict "secret" (dict "name" $secret "items" (list (dict "key" .own.signingKey.key "path" "twin.key.pem")))) | toYaml) -}}
{{- end -}}
{{- if eq .program "line" -}}
{{- $secret := include "twinloop.secret" (dict "root" .root "own" .own.approvers.existingSecret "at" "line.approvers" "called" "Those who may release commands") -}}
{{- $items := list -}}
{{- range .own.approvers.keys }}{{ $items = append $items (dict "key" . "path" .) }}{{ end -}}
{{- $_ := set $sources "approvers" (list (dict "secret" (dict "name" $secret "items" $items)) | toYaml) -}}
{{- end -}}
{{- if has .program (list "line" "simulator") -}}
{{- $_ := set $sources "opcua" (include "twinloop.sources.opcua" (dict "root" .root "opcua" .own.opcua "at" (printf "%s.opcua" .program)) | trim) -}}
{{- end -}}
{{ toYaml $sources }}
{{- end -}}

{{/* The files of the plant, as data of a ConfigMap; of one of your own, its name. */}}
{{- define "twinloop.plant.data" -}}
{{- if .Values.plant.existingConfigMap -}}
{{ .Values.plant.existingConfigMap }}
{{- else -}}
{{- range $file := list "controller" "field" "line" "serving" "signal_sets" "simulator" "twin" }}
{{- with include "twinloop.plant.file" (dict "root" $ "name" $file) | trim }}
{{ $file }}.toml: |
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
