{{/*
(root, key): everything of one workload of files/components.yaml: Deployment or StatefulSet, Service, budget, account.
*/}}
{{- define "twinloop.workload" -}}
{{- $root := .root -}}
{{- $own := get $root.Values .key -}}
{{- if $own.enabled -}}
{{- $what := get (include "twinloop.components" $root | fromYaml) .key -}}
{{- $name := kebabcase .key -}}
{{- $program := $what.program -}}
{{- $this := dict "root" $root "key" .key "own" $own "program" $program "name" $name -}}
{{- $stateful := eq $what.kind "StatefulSet" -}}
{{- $scaled := and (eq $program "detector") (ne $root.Values.scaling.mode "none") -}}
{{- $projected := include "twinloop.projected" $this | fromYaml -}}
{{- $usesKafka := has "kafka" $what.to -}}
{{- $plant := has $program (list "ingest" "modelops" "controller" "twin" "line" "simulator") -}}
apiVersion: apps/v1
kind: {{ $what.kind }}
metadata:
  {{- include "twinloop.metadata" $this | nindent 2 }}
spec:
  {{- if not $scaled }}
  replicas: {{ $own.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  {{- if $stateful }}
  serviceName: {{ include "twinloop.fullname" $root }}-{{ $name }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: {{ $root.Values.storage.keep | ternary "Retain" "Delete" }}
    whenScaled: Retain
  {{- else if $what.once }}
  strategy:
    type: Recreate
  {{- else }}
  progressDeadlineSeconds: {{ add 300 $own.startSeconds }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  {{- end }}
  selector:
    matchLabels:
      {{- include "twinloop.selector" $this | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "twinloop.pod.labels" $this | nindent 8 }}
        twinloop.io/program: {{ $program }}
        {{- if $what.volumes }}
        twinloop.io/volumes: shared
        {{- end }}
        {{- with $own.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ $program }}
        {{- if $plant }}
        checksum/plant: {{ include "twinloop.plant.data" $root | sha256sum }}
        {{- end }}
        {{- with merge (dict) $own.podAnnotations $root.Values.commonAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "twinloop.fullname" $root }}-{{ $program }}
      {{- include "twinloop.pod.security" $root | nindent 6 }}
      {{- include "twinloop.pullSecrets" $root | nindent 6 }}
      {{- include "twinloop.placement" (dict "root" $root "name" $name "own" $own "shares" $what.volumes "spread" (ternary "" ($stateful | ternary "controller-revision-hash" "pod-template-hash") (default false $what.alone))) | nindent 6 }}
      terminationGracePeriodSeconds: {{ include "twinloop.termination" $this }}
      containers:
        - name: {{ $program }}
          {{- include "twinloop.container.image" (dict "root" $root "image" $own.image "program" $program) | nindent 10 }}
          {{- include "twinloop.container.security" $root | nindent 10 }}
          env:
            {{- include "twinloop.workload.env" $this | nindent 12 }}
            {{- range $variable, $value := $own.settings }}
            - name: {{ $variable }}
              value: {{ $value | toString | quote }}
            {{- end }}
            {{- with concat $root.Values.extraEnv $own.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - name: http
              containerPort: 8080
            {{- if eq $program "simulator" }}
            - name: opcua
              containerPort: 4840
            {{- end }}
          startupProbe:
            httpGet: {path: /health/live, port: http}
            periodSeconds: 2
            failureThreshold: {{ div (add $own.startSeconds 1) 2 }}
          livenessProbe:
            httpGet: {path: /health/live, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /health/ready, port: http}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          {{- include "twinloop.preStop" $root | nindent 10 }}
          resources:
            {{- include "twinloop.resources" (dict "preset" $own.resourcesPreset "resources" $own.resources) | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: data, mountPath: /data}
            {{- if $usesKafka }}
            {{- include "twinloop.kafka.mount" $this | nindent 12 }}
            {{- end }}
            {{- if $plant }}
            - {name: plant, mountPath: /etc/twinloop/plant, readOnly: true}
            {{- end }}
            {{- range $volume, $sources := $projected }}
            {{- if $sources }}
            - {name: {{ $volume }}, mountPath: /etc/twinloop/{{ $volume }}, readOnly: true}
            {{- end }}
            {{- end }}
            {{- range $what.volumes }}
            - {name: {{ . }}, mountPath: /{{ . }}}
            {{- end }}
            {{- with $own.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 512Mi}
        {{- if not $stateful }}
        - name: data
          emptyDir: {sizeLimit: 512Mi}
        {{- end }}
        {{- if $usesKafka }}
        {{- include "twinloop.kafka.volume" $this | nindent 8 }}
        {{- end }}
        {{- if $plant }}
        - name: plant
          configMap:
            name: {{ include "twinloop.plant.configmap" $root }}
        {{- end }}
        {{- range $volume, $sources := $projected }}
        {{- if $sources }}
        - name: {{ $volume }}
          projected:
            defaultMode: 0440
            sources:
              {{- $sources | nindent 14 }}
        {{- end }}
        {{- end }}
        {{- range $what.volumes }}
        - name: {{ . }}
          persistentVolumeClaim:
            claimName: {{ include "twinloop.claim" (dict "root" $root "volume" .) }}
        {{- end }}
        {{- with $own.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- if $stateful }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels:
          {{- include "twinloop.selector" $this | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $own.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $own.persistence.size }}
  {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "twinloop.metadata" $this | nindent 2 }}
spec:
  {{- if $stateful }}
  # Each pod has a name of its own, too: only the member that holds an asset's partition decides about it.
  clusterIP: None
  {{- end }}
  selector:
    {{- include "twinloop.selector" $this | nindent 4 }}
  ports:
    - name: http
      port: 8080
      targetPort: http
    {{- if eq $program "simulator" }}
    - name: opcua
      port: 4840
      targetPort: opcua
    {{- end }}
{{- if $root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "twinloop.metadata" $this | nindent 2 }}
spec:
  maxUnavailable: 1
  # A pod that cannot become ready, such as while Kafka is away, must not hold up the drain of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "twinloop.selector" $this | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* (root, volume): the claim of a shared volume. */}}
{{- define "twinloop.claim" -}}
{{- default (printf "%s-%s" (include "twinloop.fullname" .root) .volume) (get .root.Values.storage .volume).existingClaim -}}
{{- end -}}

{{/* (root, key, own, program, name): the variables that this chart sets. */}}
{{- define "twinloop.workload.env" -}}
- name: TWINLOOP_HEALTH_HOST
  value: 0.0.0.0
- name: TWINLOOP_HEALTH_PORT
  value: "8080"
- name: TWINLOOP_LOG_LEVEL
  value: {{ .root.Values.log.level }}
- name: TWINLOOP_LOG_FORMAT
  value: {{ .root.Values.log.format }}
- name: TWINLOOP_GRACE_S
  value: {{ include "twinloop.grace" .root | quote }}
- name: OMP_NUM_THREADS
  value: "1"
- name: OPENBLAS_NUM_THREADS
  value: "1"
{{- if has "kafka" (get (include "twinloop.components" .root | fromYaml) .key).to }}
{{- include "twinloop.kafka.env" . | nindent 0 }}
{{- end }}
{{- include (printf "twinloop.env.%s" .program) . | nindent 0 }}
{{- if .root.Values.traces.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .root.Values.traces.endpoint | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ .name }}
{{- end }}
{{- end -}}
