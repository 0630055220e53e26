{{- define "twinloop.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for a workload's name after it, and a pod's after that. */}}
{{- define "twinloop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 34 | trimSuffix "-" -}}
{{- else if contains (include "twinloop.name" .) .Release.Name -}}
{{- .Release.Name | trunc 34 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "twinloop.name" .) | trunc 34 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* (root, name): what the selectors of a workload say. Never changes. */}}
{{- define "twinloop.selector" -}}
app.kubernetes.io/name: {{ include "twinloop.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* (root, name): labels of an object. */}}
{{- define "twinloop.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "twinloop.selector" . }}
app.kubernetes.io/part-of: twinloop
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (root, name): labels of pods. No version of the chart among them: it alone must restart nothing. */}}
{{- define "twinloop.pod.labels" -}}
{{ include "twinloop.selector" . }}
app.kubernetes.io/part-of: twinloop
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (root, name, called?, labels?, annotations?): `metadata` of an object. */}}
{{- define "twinloop.metadata" -}}
name: {{ include "twinloop.fullname" .root }}-{{ default .name .called }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "twinloop.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The table of workloads. */}}
{{- define "twinloop.components" -}}
{{ .Files.Get "files/components.yaml" }}
{{- end -}}

{{/* The programs that run here, which are Prometheus' jobs, each with the port of its metrics. */}}
{{- define "twinloop.programs" -}}
{{- $programs := dict -}}
{{- range $key, $what := include "twinloop.components" . | fromYaml -}}
{{- if (get $.Values $key).enabled }}{{ $_ := set $programs $what.program "http" }}{{ end -}}
{{- end -}}
{{- if include "twinloop.triton.here" . }}{{ $_ := set $programs "triton" "metrics" }}{{ end -}}
{{ toYaml $programs }}
{{- end -}}

{{/* (root, image, program): registry, digest over tag. `image` may lack any of its fields. */}}
{{- define "twinloop.image" -}}
{{- $values := .root.Values -}}
{{- $image := default (dict) .image -}}
{{- $registry := default $values.global.imageRegistry $image.registry -}}
{{- $repository := default (printf "%s/%s" $values.image.repositoryPrefix .program) $image.repository -}}
{{- $tag := default (default .root.Chart.AppVersion $values.image.tag) $image.tag -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end -}}

{{/* (root, image, program): `image` and `imagePullPolicy` of a container. */}}
{{- define "twinloop.container.image" -}}
image: {{ include "twinloop.image" . | quote }}
imagePullPolicy: {{ default .root.Values.image.pullPolicy (default (dict) .image).pullPolicy }}
{{- end -}}

{{/* (root, own, key, called): the first named Secret; `called` says in words what it is for. */}}
{{- define "twinloop.secret" -}}
{{- $values := .root.Values -}}
{{- if .own -}}{{ tpl .own .root }}
{{- else if $values.secrets.existingSecret -}}{{ tpl $values.secrets.existingSecret .root }}
{{- else if $values.secrets.generate -}}{{ include "twinloop.fullname" .root }}-keys
{{- else -}}{{ fail (printf "%s: name a Secret in %s.existingSecret, or one for all in secrets.existingSecret." .called .at) }}
{{- end -}}
{{- end -}}
