{{- define "twinloop.triton.here" -}}
{{- if and .Values.triton.enabled (not .Values.triton.address) }}yes{{ end -}}
{{- end -}}

{{/* Whether there are, or may be, several pods of it. */}}
{{- define "twinloop.triton.many" -}}
{{- $triton := .Values.triton -}}
{{- if eq $triton.scaling.mode "none" -}}
{{- if gt (int $triton.replicas) 1 }}yes{{ end -}}
{{- else if gt (int $triton.scaling.maxReplicas) 1 }}yes{{ end -}}
{{- end -}}

{{/* The port of the bucket: of `s3://bucket/models`, `s3://host:port/bucket/models` or `s3://http://host/bucket/models`. */}}
{{- define "twinloop.triton.bucket.port" -}}
{{- $rest := trimPrefix "s3://" .Values.triton.models.url -}}
{{- $host := $rest | trimPrefix "http://" | trimPrefix "https://" | splitList "/" | first -}}
{{- if contains ":" $host }}{{ splitList ":" $host | last }}{{ else if hasPrefix "http://" $rest }}80{{ else }}443{{ end -}}
{{- end -}}

{{/* Where Triton's models lie: the claim of modelops, a bucket, or a folder that an init container fills. */}}
{{- define "twinloop.triton.repository" -}}
{{- if has .Values.triton.models.source (list "s3" "gcs") }}{{ .Values.triton.models.url }}{{ else }}/models{{ end -}}
{{- end -}}

{{- define "twinloop.triton.image" -}}
{{- $triton := .Values.triton -}}
{{- $image := $triton.image -}}
{{- if eq $triton.platform "gpu" -}}
{{- $image = merge (dict) $image (dict "registry" (default "nvcr.io" .Values.global.imageRegistry) "repository" "nvidia/tritonserver" "tag" "24.10-py3") -}}
{{- end -}}
{{ include "twinloop.container.image" (dict "root" . "image" $image "program" "triton-cpu") }}
{{- end -}}

{{/* The claim is modelops' own to write; Triton reads. */}}
{{- define "twinloop.triton.claims" -}}
{{- if or (eq .Values.triton.models.source "volume") .Values.modelops.enabled }}yes{{ end -}}
{{- end -}}
