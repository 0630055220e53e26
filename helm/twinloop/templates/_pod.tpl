{{/* What Pod Security `restricted` asks. Images run as any user: without one, the cluster gives it. */}}
{{- define "twinloop.pod.security" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .Values.podUser }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  fsGroup: {{ int64 . }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "twinloop.container.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "twinloop.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/*
(preset, resources, roomy?): no limit of CPU, which would only hold up heartbeats; what a pod needs of memory is its
limit. What lies in volumes of the pod counts as its ephemeral storage: who keeps much there (`roomy`) is limited by the
sizes of the volumes alone.
*/}}
{{- define "twinloop.resources" -}}
{{- $presets := dict
  "nano" (dict "cpu" "25m" "memory" "64Mi")
  "micro" (dict "cpu" "50m" "memory" "128Mi")
  "small" (dict "cpu" "100m" "memory" "512Mi")
  "medium" (dict "cpu" "250m" "memory" "1Gi")
  "large" (dict "cpu" "1" "memory" "2Gi")
  "xlarge" (dict "cpu" "2" "memory" "4Gi") -}}
{{- if .resources -}}
{{ toYaml .resources }}
{{- else -}}
{{- $preset := get $presets .preset -}}
requests:
  cpu: {{ $preset.cpu }}
  memory: {{ $preset.memory }}
  ephemeral-storage: 64Mi
limits:
  memory: {{ $preset.memory }}
  {{- if not .roomy }}
  ephemeral-storage: 1Gi
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
(root, name, own, shares?, spread?): where a pod may run. `spread` is the label by which pods of one version are known.
*/}}
{{- define "twinloop.placement" -}}
{{- $shared := .root.Values.scheduling -}}
{{- with default $shared.nodeSelector .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $shared.tolerations .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := default $shared.affinity .own.affinity }}
{{- if and .shares .root.Values.storage.colocate }}
affinity:
  {{- with omit (default (dict) $affinity) "podAffinity" }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/instance: {{ .root.Release.Name }}
            twinloop.io/volumes: shared
{{- else if $affinity }}
affinity:
  {{- toYaml $affinity | nindent 2 }}
{{- end }}
{{- with default $shared.priorityClassName .own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if and $shared.topologySpread.enabled .spread }}
topologySpreadConstraints:
  {{- $root := .root }}
  {{- $name := .name }}
  {{- $version := .spread }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $shared.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "twinloop.selector" (dict "root" $root "name" $name) | nindent 8 }}
    matchLabelKeys: [{{ $version }}]
  {{- end }}
{{- end }}
{{- end -}}

{{/* Seconds of TWINLOOP_GRACE_S: drain, commit, leave. */}}
{{- define "twinloop.grace" -}}
{{- $s := .Values.shutdown -}}
{{- add $s.drainSeconds $s.commitSeconds $s.leaveSeconds -}}
{{- end -}}

{{/* (root, own, key): terminationGracePeriodSeconds, which must leave time for all of it. */}}
{{- define "twinloop.termination" -}}
{{- $needed := add .root.Values.shutdown.preStopSeconds (include "twinloop.grace" .root | int) | int -}}
{{- $given := .own.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- add $needed .root.Values.shutdown.marginSeconds -}}
{{- else if le (int $given) $needed -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d, but preStop, drain, commit and leave take %d s (shutdown.*): the kubelet would kill the pod in the middle. Say more than %d, or leave it empty." .key (int $given) $needed $needed) -}}
{{- else -}}
{{- int $given -}}
{{- end -}}
{{- end -}}

{{- define "twinloop.preStop" -}}
{{- if gt (int .Values.shutdown.preStopSeconds) 0 }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.shutdown.preStopSeconds }}
{{- end }}
{{- end -}}
